%% @private Who consumes a name by HTTP: finds the process of a client that acknowledges by another request, and limits
%% how many of them a token has. Such a process may outlast its request, and the gateway, but not the server.
-module(warp_server_holds).
-behaviour(gen_server).

-export([start_link/0, add/3, find/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-type name() :: {Context :: binary(), Name :: binary()}.
-type one() :: {pid(), name(), Token :: binary()}.
-record(state, {
    by_id = #{} :: #{warp_server_hold:id() => one()},
    by_monitor = #{} :: #{reference() => warp_server_hold:id()},
    %% How many each token has.
    counts = #{} :: #{Token :: binary() => pos_integer()}
}).

-spec start_link() -> gen_server:start_ret().
start_link() -> gen_server:start_link(?MODULE, [], []).

%% @doc Adds the calling process, until it ends, and gives it an id and a monitor of what it needs to go on: it has to
%% end when that is down. Error: `{too_many_subscriptions, Max}'.
-spec add(name(), warp_server_access:caller(), Max :: non_neg_integer()) ->
    {ok, warp_server_hold:id(), Monitor :: reference()} | {error, {too_many_subscriptions, non_neg_integer()}}.
add(Name, #{server := Server, token := Token}, Max) ->
    Holds = warp_server_sup:child(Server, holds),
    case gen_server:call(Holds, {add, Name, Token, Max}) of
        {ok, Id} -> {ok, Id, erlang:monitor(process, Holds)};
        full -> {error, {too_many_subscriptions, Max}}
    end.

%% @doc The process of an id, of the same name and token.
-spec find(warp_server_hold:id(), name(), warp_server_access:caller()) -> {ok, pid()} | none.
find(Id, Name, #{server := Server, token := Token}) ->
    gen_server:call(warp_server_sup:child(Server, holds), {find, Id, Name, Token}).

-spec init([]) -> {ok, #state{}}.
init([]) -> {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call({add, Name, Token, Max}, {Pid, _}, #state{by_id = Ids, by_monitor = Monitors, counts = Counts} = State) ->
    case maps:get(Token, Counts, 0) of
        Count when Count < Max ->
            Id = warp_server_token:base64url(crypto:strong_rand_bytes(16)),
            {reply, {ok, Id},
             State#state{by_id = Ids#{Id => {Pid, Name, Token}}, counts = Counts#{Token => Count + 1},
                         by_monitor = Monitors#{erlang:monitor(process, Pid) => Id}}};
        _ ->
            {reply, full, State}
    end;
handle_call({find, Id, Name, Token}, _From, #state{by_id = Ids} = State) ->
    Found = case Ids of #{Id := {Pid, Name, Token}} -> {ok, Pid}; #{} -> none end,
    {reply, Found, State};
handle_call(_, _From, State) ->
    {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', Monitor, process, _, _}, #state{by_id = Ids, by_monitor = Monitors, counts = Counts} = State) ->
    {Id, OtherMonitors} = maps:take(Monitor, Monitors),
    {{_, _, Token}, OtherIds} = maps:take(Id, Ids),
    Fewer = case Counts of
                #{Token := 1} -> maps:remove(Token, Counts);
                #{Token := Count} -> Counts#{Token := Count - 1}
            end,
    {noreply, State#state{by_id = OtherIds, by_monitor = OtherMonitors, counts = Fewer}};
handle_info(_, State) ->
    {noreply, State}.
