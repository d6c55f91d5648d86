%% What a person, or with --json a program, wants to know at the end.
-module(warp_demo_summary).

-export([print/2, reasons/1]).

-spec print(warp_demo_job:job(), map()) -> ok.
print(#{json := true} = Job, Results) ->
    io:put_chars([warp_demo_json:encode(numbers(Job, Results)), $\n]);
print(#{data := Data, context_dir := ContextDir} = Job, Results) ->
    #{events := Events, event := Event, entities := Entities, entity := Entity} = Data:words(),
    #{events := Stored, entities := Ids, load := Load, second_load := SecondLoad, bytes := Bytes,
      rows := Rows, refused := Refused, recovered := Recovered, duplicates := Duplicates,
      mismatches := Mismatches, deleted := #{lines_left := Left}, seconds := Seconds,
      read_model := #{rows := ModelRows, mismatches := ModelMismatches},
      backup := #{bytes := Backed, seconds := BackupSeconds, events_per_second := BackupRate},
      restored := #{seconds := RestoreSeconds, events_per_second := RestoreRate, entities := Restored}} =
        numbers(Job, Results),
    #{acknowledged := Acknowledged, seconds := FirstSeconds, events_per_second := Rate} = Load,
    #{written := Written, seconds := SecondSeconds, rows_per_second := RowRate} = SecondLoad,
    Table =
        [{"rows in the file", count(Rows), ""},
         {"events", count(Stored), ["one per ", Event]},
         {Entities, count(Ids), ["one entity per ", Entity]},
         {"refused", count(Refused), reasons(maps:get(loaded, Results))},
         {"first load", [decimal(FirstSeconds, 2), " s"],
          [count(Rate), " ", Events, "/s, each on disk before it was acknowledged"]},
         {"killed after", count(Acknowledged), "acknowledged events"},
         {"recovered", count(Recovered), "events found after the kill"},
         {"second load", [decimal(SecondSeconds, 2), " s"],
          [count(RowRate), " rows/s, those skipped included"]},
         {"skipped", count(Duplicates), "events that were there already"},
         {"written", count(Written), "events that were not"},
         {"on disk", warp_demo_text:bytes(Bytes),
          [count(round(Bytes / max(1, Stored))), " bytes per event"]},
         {"mismatches", count(Mismatches), ["among ", count(Ids), " ", Entities]},
         {"read model", count(ModelRows), ["rows on ", warp_demo_read_model:name(), ", ",
                                           count(ModelMismatches), " of them different"]},
         {"left of the deleted", count(Left), left(Left)},
         {"backed up", [decimal(BackupSeconds, 2), " s"],
          [count(BackupRate), " ", Events, "/s, ", warp_demo_text:bytes(Backed)]},
         {"restored", [decimal(RestoreSeconds, 2), " s"],
          [count(RestoreRate), " ", Events, "/s; ", count(Restored), " ", Entities, ", all but the deleted one"]},
         {"in all", [decimal(Seconds, 1), " s"], ""}],
    warp_demo_text:say(["\nSummary\n", warp_demo_text:table(Table), "\nThe files are yours:\n"
                        "  sqlite3 ", filename:join(ContextDir, "shard-0000.db"),
                        " 'select * from events limit 3'"]).

numbers(#{}, #{killed := Killed, loaded := Loaded, bytes := Bytes, found := Found,
               projected := Projected, shown := Shown, backup := Backup, restored := Restored,
               seconds := Seconds}) ->
    #{acknowledged := Acknowledged, seconds := FirstSeconds} = Killed,
    #{rows := Rows, blank := Blank, stored := Stored, calls := Calls, refused := Refused,
      recovered := Recovered, written := Written, seconds := SecondSeconds} = Loaded,
    #{entities := Ids, events := Events, mismatches := Mismatches} = Found,
    #{rows => Rows - Blank, events => Events, entities => Ids, refused => length(Refused),
      load => #{acknowledged => Acknowledged, seconds => FirstSeconds,
                events_per_second => per_second(Acknowledged, FirstSeconds)},
      second_load => #{written => Written, calls => Calls, seconds => SecondSeconds,
                       rows_per_second => per_second(Rows, SecondSeconds)},
      recovered => Recovered, duplicates => Stored - Written, bytes => Bytes,
      mismatches => Mismatches, deleted => Shown, read_model => maps:remove(examples, Projected),
      backup => with_rate(maps:with([events, bytes, seconds], Backup)), restored => with_rate(Restored),
      seconds => Seconds}.

with_rate(#{events := Events, seconds := Seconds} = Of) -> Of#{events_per_second => per_second(Events, Seconds)}.

per_second(Count, Seconds) ->
    round(Count / max(0.001, Seconds)).

%% The reasons that the engine gave, with how often.
-spec reasons(#{refused := [{pos_integer(), term()}], _ => _}) -> iodata().
reasons(#{refused := Refused}) ->
    Counts = lists:foldl(fun({_, Reason}, Acc) ->
                             maps:update_with(reason(Reason), fun(N) -> N + 1 end, 1, Acc)
                         end, #{}, Refused),
    Most = lists:sublist(lists:reverse(lists:keysort(2, maps:to_list(Counts))), 3),
    lists:join(", ", [[Reason, " (", count(N), ")"] || {Reason, N} <- Most]).

reason({bad_event, _, Field, Why}) -> reason({bad_event, Field, Why});
reason(Reason) -> warp_demo_text:short(io_lib:format("~tp", [Reason]), 60).

left(0) -> "lines in the files";
left(_) -> "lines in the files, whose text for other ids or rows holds the same letters".

count(Number) -> warp_demo_text:count(Number).

decimal(Number, Digits) -> warp_demo_text:decimal(Number, Digits).
