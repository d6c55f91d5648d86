%% Loads a CSV file into a context: one process reads it and hands the rows to a few loaders, those of an entity
%% always to the same one, in the order of the file.
-module(warp_demo_load).

-export([run/4]).
-export_type([result/0]).

-define(IN_FLIGHT, 20000).

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
    Reader = Data:reader(Header, IdColumn),
    Loaders = [warp_demo_loader:start_link(Ctx, Reader)
               || _ <- lists:seq(1, erlang:system_info(schedulers_online))],
    State = #{loaders => list_to_tuple(Loaders), half => Half, place => place(IdColumn, Header),
              in_flight => 0, rows => 0, stored => 0, calls => 0, blank => 0, refused => [],
              progress => warp_demo_progress:new(Label)},
    {ok, Csv} = warp_demo_csv:open(Path),
    try read(Csv, State) of
        Done -> {ok, result(Done, Loaders)}
    catch
        throw:{stop, Reason} -> {error, Reason}
    after
        ok = warp_demo_csv:close(Csv),
        lists:foreach(fun warp_demo_loader:stop/1, Loaders)
    end.

place(Name, [Name | _]) -> 1;
place(Name, [_ | Names]) -> 1 + place(Name, Names).

result(#{rows := Rows, stored := Stored, calls := Calls, blank := Blank, refused := Refused,
         progress := Progress}, Loaders) ->
    #{rows => Rows, stored => Stored, calls => Calls, blank => Blank,
      refused => lists:sort(Refused), ids => lists:append([warp_demo_loader:ids(Pid) || Pid <- Loaders]),
      seconds => warp_demo_progress:seconds(Progress)}.

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

send(Numbered, #{loaders := Loaders, place := Place, rows := Rows,
                 in_flight := InFlight} = State) ->
    ByLoader = lists:foldl(
        fun({_, Row} = One, Acc) ->
            Loader = erlang:phash2(id(Place, Row), tuple_size(Loaders)) + 1,
            maps:update_with(Loader, fun(More) -> [One | More] end, [One], Acc)
        end, #{}, Numbered),
    maps:foreach(fun(Loader, Reversed) ->
                     warp_demo_loader:load(element(Loader, Loaders), lists:reverse(Reversed))
                 end, ByLoader),
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
