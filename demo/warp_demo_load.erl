%% Loads a CSV file into a context: one process reads it, many callers append. The rows of an entity
%% all go through the same caller, in the order of the file. A caller appends one event at a time,
%% or several at once where rows of one entity follow each other in what it has been handed.
-module(warp_demo_load).

-export([run/4]).
-export_type([result/0]).

-define(CALLERS, 256).
-define(IN_FLIGHT, 20000).
-define(LARGEST_BATCH, 500).
-define(RETRIES, 100).

-type result() :: #{rows := non_neg_integer(), stored := non_neg_integer(),
                    calls := non_neg_integer(), blank := non_neg_integer(),
                    refused := [{pos_integer(), Reason :: term()}],
                    ids := [binary()], seconds := float()}.

%% Half is called once when half of the file has been read, with how many events have been
%% acknowledged; appends are under way then.
-spec run(warp_demo_job:job(), Ctx :: term(), Label :: string(),
          Half :: fun((non_neg_integer()) -> term()) | none) ->
          {ok, result()} | {error, iodata()}.
run(#{data := Data, csv := Path, header := Header, id_column := IdColumn}, Ctx, Label, Half) ->
    Self = self(),
    Reader = Data:reader(Header, IdColumn),
    Callers = [spawn_link(fun() -> caller(Self, Ctx, Reader, #{}) end)
               || _ <- lists:seq(1, ?CALLERS)],
    State = #{callers => list_to_tuple(Callers), half => Half, place => place(IdColumn, Header),
              in_flight => 0, rows => 0, stored => 0, calls => 0, blank => 0, refused => [],
              progress => warp_demo_progress:new(Label)},
    {ok, Csv} = warp_demo_csv:open(Path),
    try read(Csv, State) of
        Done -> {ok, result(Done, Callers)}
    catch
        throw:{stop, Reason} -> {error, Reason}
    after
        ok = warp_demo_csv:close(Csv),
        lists:foreach(fun(Pid) -> unlink(Pid), exit(Pid, kill) end, Callers)
    end.

place(Name, [Name | _]) -> 1;
place(Name, [_ | Names]) -> 1 + place(Name, Names).

result(#{rows := Rows, stored := Stored, calls := Calls, blank := Blank, refused := Refused,
         progress := Progress}, Callers) ->
    #{rows => Rows, stored => Stored, calls => Calls, blank => Blank,
      refused => lists:sort(Refused), ids => lists:append([ids(Pid) || Pid <- Callers]),
      seconds => warp_demo_progress:seconds(Progress)}.

ids(Pid) ->
    Pid ! ids,
    receive {ids, Pid, Ids} -> Ids end.

%% ---------------------------------------------------------------------- Reader

read(Csv, State) ->
    case warp_demo_csv:read(Csv) of
        {ok, Rows, Next} ->
            Sent = send(Rows, State),
            Share = warp_demo_csv:bytes_read(Next) / max(1, warp_demo_csv:size(Next)),
            read(Next, wait(?IN_FLIGHT, half(Share, show(Share, Sent))));
        eof ->
            #{progress := Progress, stored := Stored} = Done = wait(0, State),
            Done#{progress := warp_demo_progress:finish(Progress, Stored, 1.0)};
        {error, Why} ->
            throw({stop, Why})
    end.

%% With half of what is under way answered, and half of it not.
half(Share, #{half := Fun, in_flight := InFlight} = State) when Fun =/= none, Share >= 0.5 ->
    #{stored := Stored} = Waited = wait(InFlight div 2, State),
    Fun(Stored),
    Waited#{half := none};
half(_, State) ->
    State.

show(Share, #{progress := Progress, stored := Stored} = State) ->
    State#{progress := warp_demo_progress:show(Progress, Stored, Share)}.

send(Numbered, #{callers := Callers, place := Place, rows := Rows,
                 in_flight := InFlight} = State) ->
    ByCaller = lists:foldl(
        fun({_, Row} = One, Acc) ->
            Caller = erlang:phash2(id(Place, Row), tuple_size(Callers)) + 1,
            maps:update_with(Caller, fun(More) -> [One | More] end, [One], Acc)
        end, #{}, Numbered),
    maps:foreach(fun(Caller, Reversed) ->
                     element(Caller, Callers) ! {rows, lists:reverse(Reversed)}
                 end, ByCaller),
    Sent = length(Numbered),
    State#{rows := Rows + Sent, in_flight := InFlight + Sent}.

id(1, [Id | _]) -> Id;
id(Place, [_ | Fields]) -> id(Place - 1, Fields);
id(_, []) -> <<>>.

%% Until no more than that many rows are without an answer.
wait(Most, #{in_flight := InFlight} = State) when InFlight =< Most ->
    State;
wait(Most, #{in_flight := InFlight, stored := Stored, calls := Calls, blank := Blank,
             refused := Refused} = State) ->
    receive
        {done, #{rows := Rows, stored := MoreStored, calls := MoreCalls, blank := MoreBlank,
                 refused := MoreRefused}} ->
            wait(Most, State#{in_flight := InFlight - Rows, stored := Stored + MoreStored,
                              calls := Calls + MoreCalls, blank := Blank + MoreBlank,
                              refused := MoreRefused ++ Refused});
        {failed, Reason} ->
            throw({stop, io_lib:format("an append failed: ~tp", [Reason])})
    end.

%% ---------------------------------------------------------------------- Caller

caller(Owner, Ctx, Reader, Entities) ->
    receive
        {rows, Rows} ->
            Events = [{N, Id, Event} || {N, Row} <- Rows, {Id, Event} <- [Reader(N, Row)]],
            Counts = #{rows => length(Rows), blank => length(Rows) - length(Events),
                       stored => 0, calls => 0, refused => []},
            case append(Events, Ctx, Counts, Entities) of
                {ok, Done, Known} ->
                    Owner ! {done, Done},
                    caller(Owner, Ctx, Reader, Known);
                {error, Reason} ->
                    Owner ! {failed, Reason}
            end;
        ids ->
            Owner ! {ids, self(), maps:keys(Entities)}
    end.

append([], _Ctx, Counts, Entities) ->
    {ok, Counts, Entities};
append([{_, Id, _} | _] = Rows, Ctx, Counts, Entities) ->
    Entity = case Entities of
                 #{Id := Known} -> Known;
                 #{} -> warp_core:entity(Ctx, Id)
             end,
    {Run, Rest} = run_of(Id, Rows, ?LARGEST_BATCH, []),
    case append_run(Entity, Run, Counts) of
        {error, _} = Error ->
            Error;
        Counted ->
            append(Rest, Ctx, Counted, know(Id, Entity, Counts, Counted, Entities))
    end.

%% An id of which nothing could be stored is no entity.
know(_, _, #{stored := Stored}, #{stored := Stored}, Entities) -> Entities;
know(Id, Entity, _, _, Entities) -> Entities#{Id => Entity}.

run_of(Id, [{N, Id, Event} | Rows], Left, Run) when Left > 0 ->
    run_of(Id, Rows, Left - 1, [{N, Event} | Run]);
run_of(_, Rows, _, Run) ->
    {lists:reverse(Run), Rows}.

append_run(Entity, Run, #{calls := Calls, stored := Stored, refused := Refused} = Counts) ->
    Called = Counts#{calls := Calls + 1},
    case {ask(Entity, [Event || {_, Event} <- Run], ?RETRIES), Run} of
        {{ok, _}, _} ->
            Called#{stored := Stored + length(Run)};
        {{refused, Reason}, [{N, _}]} ->
            Called#{refused := [{N, Reason} | Refused]};
        {{refused, _}, _} ->
            %% A refused batch stores nothing: each row has to be heard for itself.
            each(Entity, Run, Called);
        {{error, _} = Error, _} ->
            Error
    end.

each(_Entity, [], Counts) ->
    Counts;
each(Entity, [Row | Rows], Counts) ->
    case append_run(Entity, [Row], Counts) of
        #{} = Counted -> each(Entity, Rows, Counted);
        {error, _} = Error -> Error
    end.

%% Where an append may or may not have been stored, its event ids make asking again safe.
ask(Entity, Events, Retries) ->
    case send_events(Entity, Events) of
        {ok, _} = Ok -> Ok;
        {error, Reason} ->
            case kind(Reason) of
                passing when Retries > 0 ->
                    timer:sleep(50),
                    ask(Entity, Events, Retries - 1);
                refusal -> {refused, Reason};
                _ -> {error, Reason}
            end
    end.

send_events(Entity, [Event]) -> warp_core:append(Entity, Event);
send_events(Entity, Events) -> warp_core:append_batch(Entity, Events).

kind(overloaded) -> passing;
kind(timeout) -> passing;
kind(interrupted) -> passing;
kind({shard_unavailable, _}) -> passing;
kind({bad_entity_id, _}) -> refusal;
kind({bad_event, _, _, _}) -> refusal;
kind({batch_too_large_bytes, _, _}) -> refusal;
kind({rejected, _}) -> refusal;
kind({id_conflict, _}) -> refusal;
kind(_) -> fatal.
