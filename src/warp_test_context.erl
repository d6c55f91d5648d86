%% @doc Contexts for tests: each in a folder of its own, which is gone when the context is stopped.
%%
%% ```
%% balance_test() ->
%%     ok = warp_test_context:run(#{aggregates => [account:aggregate()]}, fun(Ctx) ->
%%         Alice = warp_core:entity(Ctx, <<"alice">>),
%%         {ok, 1} = warp_core:append(Alice, #{type => <<"Credited">>, payload => #{amount => 5}}),
%%         {ok, 5} = warp_core:get(Alice, <<"Account">>),
%%         ok
%%     end).
%% '''
%%
%% Such a context has one shard and durability `normal', so that it waits for no disk. Several can run at the same
%% time.
-module(warp_test_context).

-export([run/2, start/1, stop/1, await_subscribers/2]).

%% What the names of the folders begin with, below that of temporary files.
-define(PREFIX, "warp-test-").

%% @doc Starts a context, calls the function with it, and stops the context, whatever the function did. Gives the
%% function's result, or raises what it raised. Options and errors are those of {@link start/1}.
-spec run(map(), fun((warp_core:ctx()) -> Result)) -> Result | {error, warp_core:start_error()}.
run(Options, Fun) when is_function(Fun, 1) ->
    case start(Options) of
        {ok, Ctx} ->
            try
                Fun(Ctx)
            after
                stop(Ctx)
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Starts a context with an empty folder. Options and errors are those of {@link warp_core:start/1}, with other
%% defaults: `context' is `<<"test">>', `shards' 1 and `durability' `normal'. `data_dir' is no option.
-spec start(map()) -> {ok, warp_core:ctx()} | {error, warp_core:start_error()}.
start(#{data_dir := _}) ->
    {error, {unknown_option, data_dir}};
start(Options) when is_map(Options) ->
    Dir = new_dir(),
    Defaults = #{context => <<"test">>, shards => 1, durability => normal, data_dir => Dir},
    case warp_core:start(maps:merge(Defaults, Options)) of
        {ok, Ctx} ->
            {ok, Ctx};
        {error, _} = Error ->
            _ = file:del_dir_r(Dir),
            Error
    end;
start(Options) ->
    warp_core:start(Options).

%% @doc Stops a context that {@link start/1} started, and removes its folder. Does nothing for one that is stopped, or
%% that {@link warp_core:start/1} started.
-spec stop(warp_core:ctx()) -> ok.
stop(Ctx) ->
    case warp_context:of_handle(Ctx) of
        {ok, #{dir := ContextDir}} ->
            Dir = filename:dirname(ContextDir),
            case filename:basename(Dir) of
                <<?PREFIX, _/binary>> ->
                    ok = warp_core:stop(Ctx),
                    _ = file:del_dir_r(Dir),
                    ok;
                _ ->
                    ok
            end;
        not_found ->
            ok
    end.

%% @doc Waits until all subscriptions with names have handled everything that is stored, so that a test can look at what
%% they did; also what they appended themselves. The timeout is `infinity' or milliseconds. Errors: `{behind, Names}':
%% at the timeout these were not done, or an event waits that they failed with; `context_stopped'; `interrupted' and
%% `timeout' when the process that keeps the names does not answer; those of its file.
-spec await_subscribers(warp_core:ctx(), timeout()) ->
    ok | {error, {behind, [Name :: binary()]} | context_stopped | interrupted | timeout | disk_full
                 | {io_error | corrupt, binary()}}.
await_subscribers(Ctx, Timeout) ->
    case warp_context:of_handle(Ctx) of
        {ok, Context} -> warp_subscription_wait:caught_up(Context, warp_deadline:from(Timeout));
        not_found -> {error, context_stopped}
    end.

new_dir() ->
    Number = erlang:unique_integer([positive]),
    Name = io_lib:format("~s~s-~b-~b", [?PREFIX, os:getpid(), os:system_time(), Number]),
    unicode:characters_to_binary(filename:join(os:getenv("TMPDIR", "/tmp"), Name)).
