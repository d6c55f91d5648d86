%% @private Owns the tables of a context. When this process ends the tables are gone, so its supervisor restarts
%% everything behind it. The lock of the context's folder outlives this process: the context has it until it is
%% stopped.
-module(warp_context_keeper).
-behaviour(gen_server).

-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-export_type([start/0]).

-type start() :: {warp_context_options:settings(), Dir :: binary(), warp_nif:lock()}.

%% @doc Starts the keeper of a context, which makes the tables and publishes the context.
-spec start_link(warp_context:ref(), start()) -> gen_server:start_ret().
start_link(Ref, Start) ->
    gen_server:start_link(?MODULE, {Ref, Start}, []).

-spec init({warp_context:ref(), start()}) -> {ok, warp_context:context()}.
init({Ref, {Settings, Dir, Lock}}) ->
    #{context := Name, shards := Shards, durability := Durability, file_access := Access} = Settings,
    Own = #{ref => Ref, name => Name, dir => Dir, lock => Lock, shards => Shards,
            durability => Durability, file_access => Access, clock => warp_clock:new(),
            running => warp_context:new_table()},
    Context = maps:merge(warp_component:new(Settings), Own),
    ok = warp_context:put(Context),
    {ok, Context}.

-spec handle_call(term(), gen_server:from(), warp_context:context()) ->
    {reply, {error, term()}, warp_context:context()}.
handle_call(Stray, _From, Context) ->
    ok = warp_stray:note(keeper, call, Stray),
    {reply, {error, {unknown_request, Stray}}, Context}.

-spec handle_cast(term(), warp_context:context()) -> {noreply, warp_context:context()}.
handle_cast(Stray, Context) ->
    ok = warp_stray:note(keeper, cast, Stray),
    {noreply, Context}.

-spec handle_info(term(), warp_context:context()) -> {noreply, warp_context:context()}.
handle_info(Stray, Context) ->
    ok = warp_stray:note(keeper, message, Stray),
    {noreply, Context}.

%% The settings hold initial states, and secrets of a projection's target.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #{name := Name, shards := Shards}} = Status) ->
    warp_redact:status(Status, #{context => Name, shards => Shards});
format_status(Status) ->
    warp_redact:status(Status, #{}).
