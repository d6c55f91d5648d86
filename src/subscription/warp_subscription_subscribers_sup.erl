%% @private Supervises the subscribers that a context is started with, each with its consumers.
-module(warp_subscription_subscribers_sup).
-behaviour(supervisor).

-export([start_link/3]).
-export([init/1]).

-spec start_link(warp_context:ref(), pos_integer(), [warp_subscription_options:subscriber()]) ->
    supervisor:startlink_ret().
start_link(Ref, Shards, Subscribers) ->
    supervisor:start_link(?MODULE, {{warp_context, Ref, Shards}, Subscribers}).

-spec init({warp_context:ctx(), [warp_subscription_options:subscriber()]}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({{warp_context, _, Shards} = Ctx, Subscribers}) ->
    Children = [#{id => {Name, N}, start => {warp_subscriber, start_consumer, [Ctx, Subscriber]}, shutdown => 5000}
                || #{name := Name, options := #{consumers := Consumers}} = Subscriber <- Subscribers,
                   N <- lists:seq(1, min(Consumers, Shards))],
    {ok, {#{strategy => one_for_one, intensity => 1000, period => 1}, Children}}.
