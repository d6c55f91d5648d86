%% @private Looks at the file of the configuration, and at those of certificates, once a second, and has the server take
%% what has changed.
-module(warp_server_watch).
-behaviour(gen_server).

-export([start_link/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-include_lib("kernel/include/logger.hrl").

-record(state, {
    sup :: pid(),
    file :: file:filename_all(),
    options = #{} :: map(),
    %% What the files were like when they were read last.
    seen = none :: term()
}).

-define(LOOK_MS, 1000).

%% @doc Starts the process for the server that the supervisor has as its child `server'.
-spec start_link(pid(), file:filename_all()) -> gen_server:start_ret().
start_link(Sup, File) ->
    gen_server:start_link(?MODULE, #state{sup = Sup, file = File}, []).

-spec init(#state{}) -> {ok, #state{}, {continue, look}}.
init(State) -> {ok, State, {continue, look}}.

%% NOTE: also the first time, since something may have changed since the server has read it.
-spec handle_continue(look, #state{}) -> {noreply, #state{}}.
handle_continue(look, State) ->
    _ = erlang:send_after(?LOOK_MS, self(), look),
    {noreply, look(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unknown_request}, #state{}}.
handle_call(_, _From, State) -> {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, {continue, look}}.
handle_info(look, State) -> {noreply, State, {continue, look}};
handle_info(_, State) -> {noreply, State}.

look(#state{file = File, options = Options, seen = Seen} = State) ->
    case [looks(Path) || Path <- [File | warp_server_file:files(Options)]] of
        Seen -> State;
        _ -> read(State)
    end.

looks(Path) ->
    case file:read_file_info(Path, [{time, posix}]) of
        {ok, Info} -> {element(2, Info), element(6, Info), element(12, Info)};
        {error, Why} -> Why
    end.

read(#state{file = File, options = Before} = State) ->
    case warp_server_file:read(File) of
        {ok, Options} ->
            ok = apply_to(State, Options, Before),
            State#state{options = Options, seen = [looks(Path) || Path <- [File | warp_server_file:files(Options)]]};
        {error, {bad_configuration, Message}} ->
            ?LOG_ERROR("Warp: the configuration is not read, and the one before counts: ~ts", [Message]),
            State#state{seen = [looks(Path) || Path <- [File | warp_server_file:files(Before)]]}
    end.

apply_to(#state{sup = Sup, file = File}, Options, Before) ->
    {_, Server, _, _} = lists:keyfind(server, 1, supervisor:which_children(Sup)),
    case warp_server:configure(Server, warp_server_file:changeable(Options)) of
        ok when Before =:= #{} ->
            ok;
        ok ->
            _ = [?LOG_WARNING("Warp: what ~ts has changed of `contexts', `keys' and `server' counts after a restart",
                              [File]) || fixed(Options) =/= fixed(Before)],
            ?LOG_NOTICE("Warp: the configuration ~ts was read again", [File]);
        {error, Why} ->
            ?LOG_ERROR("Warp: the configuration ~ts is refused, and the one before counts: ~ts",
                       [File, warp_server:format_error(Why)])
    end,
    ok.

fixed(Options) -> maps:without(maps:keys(warp_server_file:changeable(Options)), Options).
