%% @private Supervises the processes of the subscriptions of a context. One that ends is not restarted: its subscriber
%% knows what to do.
-module(warp_subscription_sup).
-behaviour(supervisor).

-export([start_link/1, start_subscription/3]).
-export([init/1]).

-spec start_link(warp_context:ref()) -> supervisor:startlink_ret().
start_link(Ref) ->
    supervisor:start_link(?MODULE, Ref).

%% @doc Starts the process of a subscription. Errors: `interrupted' while the supervisor is being restarted, and
%% `timeout'.
-spec start_subscription(warp_context:context(), warp_subscription_process:settings(), warp_deadline:deadline()) ->
    {ok, pid()} | {error, interrupted | timeout}.
start_subscription(Context, Settings, Deadline) ->
    case warp_context:registered(Context, subscriptions) of
        {ok, Supervisor} ->
            case warp_call:start_child(Supervisor, [Settings], Deadline) of
                {ok, Pid} when is_pid(Pid) -> {ok, Pid};
                {error, timeout} -> {error, timeout};
                {error, _} -> {error, interrupted}
            end;
        none ->
            {error, interrupted}
    end.

-spec init(warp_context:ref()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Ref) ->
    {ok, Context} = warp_context:find(Ref),
    ok = warp_context:register(Context, subscriptions, self()),
    Child = #{id => subscription, restart => temporary, shutdown => 5000,
              start => {warp_subscription_process, start_link, [warp_context:membership(Context)]}},
    {ok, {#{strategy => simple_one_for_one, intensity => 1000, period => 1}, [Child]}}.
