%% Functions of a module that is reloaded while a context uses them.
-module(warp_stale_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(MODULE_USED, warp_stale_functions).

all() ->
    [exported_functions_last | warp_test:both_modes()] ++ [projections_wait, sagas_are_told].

groups() ->
    warp_test:both_modes([closures_are_told, nothing_is_changed, a_missing_function_comes_back]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.
init_per_testcase(_Case, Config) ->
    load("N + 1"),
    warp_test:init_case(Config).
end_per_testcase(_Case, Config) ->
    warp_test:end_case(Config),
    _ = code:purge(?MODULE_USED),
    _ = code:delete(?MODULE_USED),
    code:purge(?MODULE_USED).

%% The module whose functions are used: they count.
load(Next) -> load(Next, "[count/2, ok/2, migrated/2, local/0, closure/0, step/2]").

load(Next, Exports) ->
    Source = ["-module(warp_stale_functions).", "-export(" ++ Exports ++ ").",
              "-compile(nowarn_unused_function).",
              "count(N, _) -> " ++ Next ++ ".", "ok(_, _) -> ok.", "migrated(E, _) -> E.",
              "local() -> fun count/2.", "closure() -> fun(N, _) -> " ++ Next ++ " end.",
              "step(_, _) -> {ok, #{type => <<\"Counted\">>, payload => #{}}}."],
    Forms = [begin
                 {ok, Tokens, _} = erl_scan:string(Line),
                 {ok, Form} = erl_parse:parse_form(Tokens),
                 Form
             end || Line <- Source],
    {ok, Module, Beam} = compile:forms(Forms, [return_errors]),
    _ = code:purge(Module),
    {module, Module} = code:load_binary(Module, "warp_stale_functions.erl", Beam),
    ok.

%% Now what the first version was asked for is gone.
reload_twice() ->
    load("N + 10"),
    load("N + 100"),
    true = code:soft_purge(?MODULE_USED) orelse code:purge(?MODULE_USED).

aggregate(Apply) ->
    #{name => <<"Count">>, initial_state => 0, apply => Apply}.

start(Config, Aggregate) ->
    warp_test:start(Config, #{aggregates => [Aggregate], snapshot_every => 2}).

counted() ->
    #{type => <<"Counted">>, payload => #{}}.

exported_functions_last(Config) ->
    Local = ?MODULE_USED:local(),
    {type, local} = erlang:fun_info(Local, type),
    Entity = warp_core:entity(start(Config, (aggregate(Local))#{
        validate => fun ?MODULE_USED:ok/2, migrate => fun ?MODULE_USED:migrated/2}), <<"e">>),
    {ok, 1} = warp_core:append(Entity, counted()),
    reload_twice(),
    {ok, 2} = warp_core:append(Entity, counted()),
    {ok, 101} = warp_core:get(Entity, <<"Count">>).

closures_are_told(Config) ->
    Ctx = start(Config, aggregate(?MODULE_USED:closure())),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, counted()),
    reload_twice(),
    Stale = {error, {stale_function, #{aggregate => <<"Count">>, function => apply,
                                       module => ?MODULE_USED, 'fun' => printed()}}},
    ?assertMatch(Stale, without_print(warp_core:append(Entity, counted()))),
    ?assertMatch(Stale, without_print(warp_core:state_at(Entity, <<"Count">>, {seq, 1}))),
    warp_test:passivate(Entity),
    ?assertMatch(Stale, without_print(warp_core:get(Entity, <<"Count">>))),
    ?assertMatch(Stale, without_print(warp_core:append(Entity, counted()))),
    ?assertMatch(Stale, without_print(warp_core:decide(Entity, <<"Count">>, fun(_) -> {ok, []} end))),
    Again = warp_test:restart(Ctx, #{aggregates => [aggregate(?MODULE_USED:closure())]}),
    ?assertEqual({ok, 100}, warp_core:get(warp_core:entity(Again, <<"e">>), <<"Count">>)).

printed() -> printed.

without_print({error, {stale_function, #{'fun' := Printed} = Gone}}) ->
    {match, _} = re:run(Printed, "warp_stale_functions"),
    {error, {stale_function, Gone#{'fun' := printed()}}};
without_print(Other) ->
    Other.

nothing_is_changed(Config) ->
    Ctx = start(Config, (aggregate(fun ?MODULE_USED:count/2))#{validate => ?MODULE_USED:closure()}),
    Entity = warp_core:entity(Ctx, <<"e">>),
    reload_twice(),
    {error, {stale_function, #{function := validate}}} = warp_core:append(Entity, counted()),
    {ok, []} = warp_core:history(Entity),
    {ok, 0} = warp_core:get(Entity, <<"Count">>).

%% As while a module is being replaced.
a_missing_function_comes_back(Config) ->
    Entity = warp_core:entity(start(Config, aggregate(fun ?MODULE_USED:count/2)), <<"e">>),
    {ok, 1} = warp_core:append(Entity, counted()),
    warp_test:passivate(Entity),
    load("N", "[ok/2]"),
    {error, {stale_function, #{'fun' := <<"fun warp_stale_functions:count/2">>}}} =
        warp_core:get(Entity, <<"Count">>),
    {error, {stale_function, _}} = warp_core:append(Entity, counted()),
    load("N + 1"),
    warp_test:wait_until(fun() -> warp_core:get(Entity, <<"Count">>) =:= {ok, 1} end),
    {ok, 2} = warp_core:append(Entity, counted()),
    {ok, 2} = warp_core:get(Entity, <<"Count">>).

%% The fold of a projector gives the error for the whole row, and sets no event aside.
projections_wait(Config) ->
    Stale = ?MODULE_USED:closure(),
    Ctx = start(Config, #{name => <<"Log">>, initial_state => none}),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"e">>), counted()),
    {ok, Context} = warp_context:find(Ctx),
    Events = warp_test:history(warp_core:entity(Ctx, <<"e">>)),
    reload_twice(),
    [begin
         Projecting = Context#{aggregates := #{<<"Log">> => Aggregate}, projections := #{tables => #{}}},
         Kept = warp_projection_states:new(Projecting, 0, 1),
         Fold = warp_projection_fold:new(Projecting, warp_projection_user_code:new(), Kept),
         ?assertMatch({error, {stale_function, #{function := Function}}},
                      warp_projection_fold:events(none, {<<"e">>, 1, 1}, Events, {#{}, #{}}, Fold))
     end || {Function, Aggregate} <- [
         {apply, #{name => <<"Log">>, initial_state => 0, apply => Stale,
                   project => fun(_, _, _) -> [] end}},
         {project, #{name => <<"Log">>, initial_state => 0,
                     project => fun(_, N, E) -> Stale(N, E) end}}]].

sagas_are_told(Config) ->
    Step = ?MODULE_USED:closure(),
    Ctx = warp_test:start(Config, #{aggregates => [#{name => <<"Log">>, initial_state => none}],
                                    steps => #{<<"lasting">> => fun ?MODULE_USED:step/2,
                                               <<"gone">> => fun(S, A) -> Step(S, A) end}}),
    reload_twice(),
    Run = fun(Name) -> #{entity => <<"e">>, aggregate => <<"Log">>,
                         forward => #{run => Name}, compensate => counted()} end,
    {ok, {committed, _}} = warp_saga:commit(warp_saga:step(warp_saga:new(<<"a">>), Run(<<"lasting">>)), Ctx),
    {ok, Context} = warp_context:find(Ctx),
    Plan = #{id => <<"b">>, steps => [(Run(<<"gone">>))#{n => 0, forward => {run, <<"gone">>, #{}}}],
             deadline => infinity},
    {_, {stale_function, #{step := <<"gone">>}}} =
        warp_saga_step:run(#{context => Context, shard => 0, epoch => 1}, Plan, forward, {0, first}).
