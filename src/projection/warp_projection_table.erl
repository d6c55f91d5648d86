%% @private What the processes of a context's projection share, in one table, which goes with their
%% supervisor: who is who, what is being deleted, and how far each projector is.
-module(warp_projection_table).

-export([new/1, is_on/1, put/3, get/2, take/2, all/2]).
-export([version/2, status/2, emptied/0]).

%% @doc The table for a context that is starting.
-spec new(warp_context:context()) -> ets:table().
new(Context) ->
    Table = ets:new(warp_projection, [public, set, {read_concurrency, true}]),
    ok = warp_context:register(Context, projection, Table),
    Table.

-spec is_on(warp_context:context()) -> boolean().
is_on(#{projections := none}) -> false;
is_on(#{}) -> true.

-spec put(warp_context:context(), term(), term()) -> ok.
put(Context, Key, Value) ->
    true = ets:insert(table(Context), {Key, Value}),
    ok.

-spec get(warp_context:context(), term()) -> {ok, term()} | none.
get(Context, Key) ->
    try ets:lookup(table(Context), Key) of
        [{_, Value}] -> {ok, Value};
        [] -> none
    catch
        %% Being restarted.
        error:badarg -> none
    end.

-spec take(warp_context:context(), term()) -> ok.
take(Context, Key) ->
    true = ets:delete(table(Context), Key),
    ok.

%% @doc Everything whose key matches.
-spec all(warp_context:context(), ets:match_pattern()) -> [{term(), term()}].
all(Context, Key) ->
    try
        ets:match_object(table(Context), {Key, '_'})
    catch
        error:badarg -> []
    end.

%% NOTE: it goes with its supervisor, and is another one after that was restarted.
table(Context) ->
    case warp_context:registered(Context, projection) of
        {ok, Table} -> Table;
        none -> error(badarg)
    end.

%% @doc What projecting depends on, as text: another one means that a rebuild is due.
-spec version(#{binary() => warp_aggregate:aggregate()}, warp_projection_schema:declared()) -> binary().
version(Aggregates, Declared) ->
    Each = [[Name, $=, integer_to_binary(warp_aggregate:version(Aggregate))]
            || {Name, #{project := _} = Aggregate} <- lists:sort(maps:to_list(Aggregates))],
    Tables = [["tables=", integer_to_binary(erlang:phash2(Declared, 1 bsl 32))]
              || map_size(Declared) > 0],
    iolist_to_binary(lists:join($\s, Each ++ Tables)).

%% @doc For `format_status' of the projection's processes: what Summary makes of the state, and no data
%% of users, which is in states, messages and errors too.
-spec status(gen_server:format_status(), fun((term()) -> map())) -> gen_server:format_status().
status(Status, Summary) ->
    maps:map(
        fun(state, State) -> try Summary(State) catch error:_ -> unknown end;
           (message, Message) -> shape(Message);
           (reason, {Reason, Stack}) when is_list(Stack) -> {shape(Reason), [called(Call) || Call <- Stack]};
           (reason, Reason) -> shape(Reason);
           (log, _) -> [];
           (_, Other) -> Other
        end,
        Status).

shape(Term) when is_atom(Term) -> Term;
shape(Term) -> unicode:characters_to_binary(warp_stray:shape(Term)).

called({Module, Function, Arguments, Where}) when is_list(Arguments) ->
    {Module, Function, length(Arguments), Where};
called(Call) ->
    Call.

%% @doc Before a process goes: a crash report shows the messages that are left.
-spec emptied() -> ok.
emptied() ->
    receive _ -> emptied() after 0 -> ok end.
