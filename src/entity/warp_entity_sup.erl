%% @private Supervises the processes of the entities in one shard.
-module(warp_entity_sup).
-behaviour(supervisor).

-export([start_link/2]).
-export([init/1]).

%% @doc Starts the supervisor of the entities in shard N.
-spec start_link(warp_context:membership(), non_neg_integer()) -> supervisor:startlink_ret().
start_link(Membership, N) ->
    supervisor:start_link(?MODULE, {Membership, N}).

-spec init({warp_context:membership(), non_neg_integer()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Given, N}) ->
    Context = warp_context:mine(Given),
    %% NOTE: entities of a previous supervisor that was killed could not unregister. They may live for a moment still,
    %% since their supervisor tells thousands of them one by one that it has ended, and their last appends may be in the
    %% queue.
    ok = warp_entity_registry:end_all(Context, N),
    ok = warp_shard:await_queue(Context, N),
    %% NOTE: this supervisor may have lost its own supervisor meanwhile, and may have a successor.
    _ = warp_context:mine(Given),
    ok = warp_context:register(Context, {entity_sup, N}, self()),
    %% An entity that starts below a supervisor which has ended does not register.
    Membership = warp_context:within(Given),
    Entity = #{
        id => entity,
        start => {warp_entity, start_link, [Membership, N]},
        restart => temporary,
        %% A killed entity loses only requests that it has not acknowledged.
        shutdown => brutal_kill
    },
    {ok, {#{strategy => simple_one_for_one, intensity => 1000, period => 1}, [Entity]}}.
