%% What the suites of sagas share: transfers between accounts, and looking at what came of them.
-module(warp_saga_test).

-export([saga/2, transfer/4, step/3, step/4, action/2]).
-export([gated/1, waits_for_gate/1, at_gate/0, callers/1]).
-export([context/1, runner/2]).
-export([balance/2, balances/2, fund/3, ids/2, saga_log/2, types/2]).

%% A context with a step function that says when it is called, and waits to be let go on.
gated(Config) ->
    Gate = self(),
    Wait = fun(_State, _Args) ->
        Gate ! {at_gate, self()},
        receive go -> {ok, #{type => <<"Noted">>, payload => #{}}} end
    end,
    warp_test:start(Config, #{steps => #{<<"wait">> => Wait}}).

waits_for_gate(Name) ->
    step(Name, <<"Log">>, #{run => <<"wait">>}, #{type => <<"Noted">>, payload => #{n => 0}}).

%% The process in which a step waits, to which `go' is sent.
at_gate() ->
    receive {at_gate, Pid} -> Pid end.

%% How many callers the keepers have listed.
callers(Ctx) ->
    lists:sum([length(List) || {saga_keeper, Keeper} <- warp_test:processes(Ctx),
                               {saga, _, _, {callers, List, _}} <- maps:values(sagas(sys:get_state(Keeper)))]).

sagas({state, _Context, _N, _Handle, _Failure, Sagas, _Runners, _Epoch}) ->
    Sagas.

%% The process of a saga, which is the only one of its shard.
runner(Ctx, Id) ->
    #{shards := Shards} = Context = context(Ctx),
    {ok, N} = warp_nif:shard_of(warp_saga_plan:entity_id(Id), Shards),
    [Runner] = warp_saga_table:runners(Context, N),
    Runner.

context(Ctx) ->
    {ok, Context} = warp_context:find(Ctx),
    Context.

%% An account gets that much.
fund(Ctx, Name, Amount) ->
    {ok, Seq} = warp_core:append(warp_core:entity(Ctx, Name), warp_test:credited(Amount)),
    Seq.

%% Debits the first and credits the second.
transfer(Id, From, To, Amount) ->
    Saga = warp_saga:step(warp_saga:new(Id), step(From, <<"Debited">>, Amount)),
    warp_saga:step(Saga, step(To, <<"Credited">>, Amount)).

%% A step of an account, with the opposite as its compensation.
step(Account, <<"Debited">>, Amount) ->
    step(Account, action(<<"Debited">>, Amount), action(<<"Credited">>, Amount));
step(Account, <<"Credited">>, Amount) ->
    step(Account, action(<<"Credited">>, Amount), action(<<"Debited">>, Amount));
step(Account, Forward, Compensate) ->
    step(Account, <<"Account">>, Forward, Compensate).

step(Entity, Aggregate, Forward, Compensate) ->
    #{entity => Entity, aggregate => Aggregate, forward => Forward, compensate => Compensate}.

action(Type, Amount) ->
    #{type => Type, payload => #{amount => Amount}}.

%% A saga of these steps, one after the other.
saga(Id, Steps) ->
    lists:foldl(fun(Step, Saga) -> warp_saga:step(Saga, Step) end, warp_saga:new(Id), Steps).

balance(Ctx, Name) ->
    {ok, Balance} = warp_core:get(warp_core:entity(Ctx, Name), <<"Account">>),
    Balance.

balances(Ctx, Names) ->
    [balance(Ctx, Name) || Name <- Names].

%% The ids of an entity's events.
ids(Ctx, Name) ->
    {ok, Events} = warp_core:export(warp_core:entity(Ctx, Name)),
    [Id || #{id := Id} <- Events].

%% The events in the log of a saga, which callers cannot read.
saga_log(Ctx, Id) ->
    Entity = <<"$warp/saga/", Id/binary>>,
    {warp_context, _, Shards} = Ctx,
    {ok, N} = warp_nif:shard_of(Entity, Shards),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Handle} = warp_context:shard(Context, N),
    {ok, Events} = warp_entity_replay:export(Handle, Entity),
    Events.

types(Ctx, Id) ->
    [Type || #{type := Type} <- saga_log(Ctx, Id)].
