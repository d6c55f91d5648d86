%% Makes the model's calls on a real context and kills its processes. A call that
%% meets a process on its way down is made again, but only where the log shows
%% that it left nothing behind.
-module(warp_model_run).

-export([open/1, close/1, abandon/0]).
-export([append/3, batch/3, burst/2, decide/3, delete/1]).
-export([get/2, state_at/3, state_at_time/3, history/2, export/1]).
-export([passivate/1, kill_entity/1, kill_process/1, restart/1]).

-define(CONTEXT, {?MODULE, context}).
-define(PATIENCE, 10000).

%% ----------------------------------------------------------------- A context

open(Mode) ->
    Opts = #{context => <<"model">>, data_dir => warp_test:new_dir(), mode => Mode,
             shards => 2, snapshot_every => 5, aggregates => warp_model:aggregates()},
    start(Opts).

start(Opts) ->
    {ok, Ctx} = warp_core:start(Opts),
    persistent_term:put(?CONTEXT, {Ctx, Opts}).

%% The log of every entity is what the model says, read through the context that
%% is up, through a new one, and by the sqlite3 shell.
close(Logs) ->
    Same = fun() -> [{E, Found} || {E, Log} <- Logs, Found <- [export(E)], Found =/= {ok, Log}] end,
    {_, #{data_dir := Dir, mode := Mode}} = persistent_term:get(?CONTEXT),
    Differing = {Same(), restart(Mode), Same(), sqlite(Dir, Logs)},
    abandon(),
    case Differing of
        {[], ok, [], []} -> ok;
        _ -> {differing, Differing}
    end.

abandon() ->
    {Ctx, #{data_dir := Dir}} = persistent_term:get(?CONTEXT),
    catch warp_core:stop(Ctx),
    warp_test:remove_dir(Dir).

sqlite(Dir, Logs) ->
    Rows = [Row || File <- warp_test:shard_files(Dir),
                   Row <- warp_test:sqlite(File, "SELECT entity, seq, id, type FROM events;"
                                                 "PRAGMA integrity_check")],
    Expected = [<<"ok">> || _ <- warp_test:shard_files(Dir)]
        ++ [<<E/binary, "|", (integer_to_binary(Seq))/binary, "|", Id/binary, "|", Type/binary>>
            || {E, Log} <- Logs, #{seq := Seq, id := Id, type := Type} <- Log],
    Shown = [Row || Row <- Rows, binary:match(Row, <<"probe-">>) =:= nomatch],
    (Shown -- Expected) ++ (Expected -- Shown).

%% --------------------------------------------------------------------- Writes

append(E, Spec, Expected) ->
    writing(E, fun(Mark) ->
        warp_core:append(entity(E), Mark(warp_model:event(E, Spec)), #{expected => Expected})
    end).

batch(E, Specs, Expected) ->
    writing(E, fun(Mark) ->
        Events = [Mark(warp_model:event(E, Spec)) || Spec <- Specs],
        warp_core:append_batch(entity(E), Events, #{expected => Expected})
    end).

%% Single appends, all at once: answered like the batch that they amount to.
burst(E, Count) ->
    Answers = warp_test:parallel([fun() -> append(E, Spec, any) end
                                  || Spec <- warp_model:burst(Count)]),
    Seqs = lists:sort([Seq || {ok, Seq} <- Answers]),
    case {lists:member(stored, Answers), Seqs} of
        {true, _} -> stored;
        {false, [First | _]} ->
            case lists:seq(First, First + Count - 1) of
                Seqs -> {ok, {First, lists:last(Seqs)}};
                _ -> {not_in_a_row, Answers}
            end;
        {false, []} -> Answers
    end.

decide(E, Aggregate, Plan) ->
    writing(E, fun(Mark) ->
        warp_core:decide(entity(E), Aggregate, fun(State) ->
            case warp_model:plan(Plan, State) of
                {ok, Specs} -> {ok, [Mark(warp_model:event(E, Spec)) || Spec <- Specs]};
                {error, _} = Error -> Error
            end
        end)
    end).

delete(E) ->
    again(fun() -> warp_core:delete(entity(E)) end).

%% Each call marks its events with a number of its own, by which they are found
%% in the log after an interruption.
writing(E, Fun) ->
    Number = erlang:unique_integer([positive]),
    Mark = fun(Event) -> Event#{metadata => #{call => Number}} end,
    writing(E, fun() -> Fun(Mark) end, Number, deadline()).

writing(E, Fun, Number, Deadline) ->
    case Fun() of
        {error, Reason} = Error ->
            case transient(Reason, Deadline) of
                false ->
                    Error;
                true ->
                    settle(),
                    case is_stored(E, Number) of
                        true -> stored;
                        false -> writing(E, Fun, Number, Deadline)
                    end
            end;
        Answer ->
            Answer
    end.

is_stored(E, Number) ->
    {ok, Events} = again(fun() -> warp_core:export(entity(E)) end),
    [] =/= [Event || Event = #{metadata := #{<<"call">> := Call}} <- Events, Call =:= Number].

settle() ->
    lists:foreach(fun(Shard) ->
        warp_killer:settle(fun() -> warp_core:append(probe(Shard, 1), probe()) end)
    end, [0, 1]).

probe(Shard, N) ->
    Entity = entity(<<"probe-", (integer_to_binary(N))/binary>>),
    case warp_test:shard_of(Entity) of
        Shard -> Entity;
        _ -> probe(Shard, N + 1)
    end.

probe() -> #{aggregate => <<"Trail">>, type => <<"Probed">>, payload => #{n => 0}}.

%% ---------------------------------------------------------------------- Reads

get(E, Aggregate) ->
    again(fun() -> warp_core:get(entity(E), Aggregate) end).

state_at(E, Aggregate, Seq) ->
    again(fun() -> warp_core:state_at(entity(E), Aggregate, {seq, Seq}) end).

%% The state at the time of the event of that seq (or of the last, or at the
%% beginning of time), with the number of events that are not younger.
state_at_time(E, Aggregate, Seq) ->
    {ok, Events} = again(fun() -> warp_core:export(entity(E)) end),
    Times = [Time || #{recorded_at := Time} <- Events],
    Time = lists:last([0 | lists:sublist(Times, Seq)]),
    State = again(fun() -> warp_core:state_at(entity(E), Aggregate, {time, Time}) end),
    {at, length([T || T <- Times, T =< Time]), State}.

history(E, Opts) ->
    events(again(fun() -> warp_core:history(entity(E), Opts) end)).

export(E) ->
    events(again(fun() -> warp_core:export(entity(E)) end)).

events({ok, Events}) -> {ok, [warp_model:seen(Event) || Event <- Events]};
events(Error) -> Error.

%% --------------------------------------------------------- Kills and restarts

passivate(E) ->
    warp_test:passivate(entity(E)).

kill_entity(E) ->
    _ = warp_test:kill_entity(entity(E)),
    ok.

kill_process(Number) ->
    _ = warp_killer:kill_process(ctx(), Number),
    ok.

restart(Mode) ->
    {Ctx, Opts} = persistent_term:get(?CONTEXT),
    ok = warp_core:stop(Ctx),
    start(Opts#{mode := Mode}).

%% -------------------------------------------------------------------- Helpers

ctx() ->
    {Ctx, _} = persistent_term:get(?CONTEXT),
    Ctx.

entity(E) -> warp_core:entity(ctx(), E).

again(Fun) -> again(Fun, deadline()).

again(Fun, Deadline) ->
    case Fun() of
        {error, Reason} = Error ->
            case transient(Reason, Deadline) of
                true -> timer:sleep(2), again(Fun, Deadline);
                false -> Error
            end;
        Answer ->
            Answer
    end.

transient(Reason, Deadline) ->
    warp_killer:is_transient(Reason) andalso erlang:monotonic_time(millisecond) < Deadline.

deadline() -> erlang:monotonic_time(millisecond) + ?PATIENCE.
