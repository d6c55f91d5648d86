%% @private The settings of a running server. One process keeps and changes them, and all read them without a copy.
-module(warp_server_settings).
-behaviour(gen_server).

-export([put/2, start_link/1, read/1, change/2, restore/2, addresses/1, served/2]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2, format_status/1]).
-compile({no_auto_import, [put/2]}).

-export_type([id/0]).

%% A server, by the process of its supervisor.
-type id() :: pid().

-record(state, {id :: id()}).

-define(KEY(Id), {?MODULE, Id}).

%% @doc Puts settings that were checked where all find them, before any process of the server runs.
-spec put(id(), warp_server_options:settings()) -> ok.
put(Id, Settings) -> persistent_term:put(?KEY(Id), Settings).

%% @doc Starts the process that changes them.
-spec start_link(id()) -> gen_server:start_ret().
start_link(Id) ->
    gen_server:start_link(?MODULE, Id, []).

%% @doc The settings of a server. Fails with `badarg' when it has ended.
-spec read(id()) -> warp_server_options:settings().
read(Id) -> persistent_term:get(?KEY(Id)).

%% @doc Changes settings, and gives those before.
-spec change(id(), term()) -> {ok, warp_server_options:settings()} | {error, warp_server_options:error()}.
change(Id, Options) -> gen_server:call(keeper(Id), {change, Options}).

%% @doc Puts settings back that the gateway did not take others for.
-spec restore(id(), warp_server_options:settings()) -> ok.
restore(Id, Settings) -> gen_server:call(keeper(Id), {restore, Settings}).

%% @doc Where the server listens, once it does.
-spec addresses(id()) -> [{Address :: binary(), inet:port_number()}].
addresses(Id) -> maps:get(addresses, read(Id), []).

%% @doc The server listens there, and from now on always does. `bad_addresses': it was told to listen elsewhere.
-spec served(id(), term()) -> ok | {error, bad_addresses}.
served(Id, Addresses) -> gen_server:call(keeper(Id), {served, Addresses}).

keeper(Id) -> maps:get(keeper, read(Id)).

-spec init(id()) -> {ok, #state{}}.
init(Id) ->
    _ = process_flag(trap_exit, true),
    ok = put(Id, (read(Id))#{keeper => self()}),
    {ok, #state{id = Id}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call({change, Options}, _From, #state{id = Id} = State) ->
    case warp_server_options:change(Options, read(Id)) of
        {ok, Settings} ->
            Before = read(Id),
            ok = put(Id, Settings),
            {reply, {ok, Before}, State};
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call({restore, Settings}, _From, #state{id = Id} = State) ->
    ok = put(Id, Settings),
    {reply, ok, State};
handle_call({served, Addresses}, _From, #state{id = Id} = State) ->
    #{listeners := Listeners} = Settings = read(Id),
    case bound(Listeners, Addresses) of
        {ok, Bound} ->
            ok = put(Id, Settings#{listeners := Bound, addresses => Addresses}),
            {reply, ok, State};
        error ->
            {reply, {error, bad_addresses}, State}
    end.

%% The listeners with their ports, which the system may have chosen.
bound([#{port := Wanted} = Listener | Listeners], [{Address, Port} | Addresses])
  when is_binary(Address), is_integer(Port), Port > 0, Port < 65536, Wanted =:= Port orelse Wanted =:= 0 ->
    case bound(Listeners, Addresses) of
        {ok, Bound} -> {ok, [Listener#{port := Port} | Bound]};
        error -> error
    end;
bound([], []) -> {ok, []};
bound(_, _) -> error.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) -> {noreply, State}.

%% NOTE: only the end of the whole server takes the settings away.
-spec terminate(term(), #state{}) -> term().
terminate(shutdown, #state{id = Id}) -> persistent_term:erase(?KEY(Id));
terminate(_, _) -> ok.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> maps:map(fun(message, _) -> hidden; (_, Value) -> Value end, Status).
