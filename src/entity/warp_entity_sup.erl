%% @private The resident entities of one shard.
-module(warp_entity_sup).
-behaviour(supervisor).

-export([start_link/2]).
-export([init/1]).

-spec start_link(warp_context:membership(), non_neg_integer()) -> supervisor:startlink_ret().
start_link(Membership, N) ->
    supervisor:start_link(?MODULE, {Membership, N}).

-spec init({warp_context:membership(), non_neg_integer()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Membership, N}) ->
    Context = warp_context:mine(Membership),
    %% Entities of an earlier supervisor that was killed could not unregister, and what they
    %% handed over may still be on its way.
    ok = warp_shard:await_queue(Context, N),
    %% NOTE: there may be a successor by now.
    _ = warp_context:mine(Membership),
    ok = warp_entity_registry:unregister_all(Context, N),
    ok = warp_context:register(Context, {entity_sup, N}, self()),
    Entity = #{
        id => entity,
        start => {warp_entity, start_link, [Membership, N]},
        restart => temporary,
        %% What is not acknowledged need not be finished, and nothing else is at stake.
        shutdown => brutal_kill
    },
    {ok, {#{strategy => simple_one_for_one, intensity => 1000, period => 1}, [Entity]}}.
