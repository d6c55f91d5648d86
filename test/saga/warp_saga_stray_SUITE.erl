%% Messages and requests that are not for the processes of sagas: they are ignored, end nothing, and
%% are taken for no outcome. And what these processes say when they crash holds nothing of users.
-module(warp_saga_stray_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-import(warp_saga_test, [gated/1, waits_for_gate/1, at_gate/0, saga/2, step/3, step/4, balance/2,
                         fund/3, ids/2, types/2, runner/2, context/1]).

-define(SECRET, <<"Q7-secret-of-alice">>).

suite() -> [{timetrap, {minutes, 1}}].
all() ->
    [a_keeper_ignores_what_it_does_not_know,
     a_message_is_not_taken_for_an_outcome_of_a_saga,
     the_mailbox_of_a_saga_does_not_grow,
     callers_that_gave_up_are_forgotten,
     nothing_of_a_saga_is_shown_of_its_keeper,
     a_crash_of_a_keeper_says_nothing_of_its_sagas,
     a_crash_of_a_saga_says_nothing_of_it].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

a_keeper_ignores_what_it_does_not_know(Config) ->
    Ctx = gated(Config),
    Self = self(),
    spawn_link(fun() -> Self ! {result, warp_saga:commit(saga(<<"x">>, [waits_for_gate(<<"g">>)]), Ctx)} end),
    Waiting = at_gate(),
    Keepers = keepers(Ctx),
    Strays = [stray, {warp_reply, passed}, shard_opened, {restart, <<"x">>}, {restart, <<"y">>},
              {timeout, make_ref(), load}, {'EXIT', self(), kill},
              {'DOWN', make_ref(), process, self(), normal}, {<<"some">>, #{}}, {waits, <<"x">>, #{}}],
    [begin
         Keeper ! Stray,
         gen_server:cast(Keeper, Stray),
         ?assertEqual({error, {unknown_request, Stray}}, gen_server:call(Keeper, Stray))
     end || Keeper <- Keepers, Stray <- Strays],
    [?assertMatch({_, {error, {unknown_request, _}}},
                  {Request, gen_server:call(Keeper, {warp_saga_keeper, Request, infinity})})
     || Keeper <- Keepers, Request <- [stray, {}, {commit, <<"y">>}, {resolve, <<"y">>, note}, #{}]],
    ?assertEqual(Keepers, keepers(Ctx)),
    Waiting ! go,
    ?assertMatch({ok, {committed, _}}, receive {result, Result} -> Result end),
    ?assertEqual([<<"x/fwd/0">>], ids(Ctx, <<"g">>)).

%% The saga would be read again, or be told to be stored, or turn back.
a_message_is_not_taken_for_an_outcome_of_a_saga(Config) ->
    Ctx = gated(Config),
    [begin
         Id = integer_to_binary(N),
         Saga = saga(Id, [waits_for_gate(Id), waits_for_gate(Id)]),
         Self = self(),
         spawn_link(fun() -> Self ! {result, warp_saga:commit(Saga, Ctx)} end),
         First = at_gate(),
         Runner = runner(Ctx, Id),
         Monitor = erlang:monitor(process, Runner),
         Runner ! Stray,
         First ! go,
         Second = at_gate(),
         Runner ! Stray,
         Second ! go,
         {ok, {How, Map}} = receive {result, Result} -> Result end,
         ?assertEqual({committed, Stray}, {How, Stray}),
         ?assertMatch(#{steps := [#{status := applied, seq := 1}, #{status := applied, seq := 2}]}, Map),
         receive
             {'DOWN', Monitor, process, Runner, Why} -> ?assertMatch({finished, {ok, {committed, _}}}, Why)
         end,
         ?assertEqual([<<"Planned">>, <<"Forward">>, <<"Reverse">>, <<"Forward">>, <<"Reverse">>,
                       <<"Committed">>], types(Ctx, Id))
     end || {N, Stray} <- lists:enumerate([{warp_reply, {stored, 1}}, {warp_reply, {wrong_base, 0}},
                                           {warp_reply, {failed, interrupted}}, {warp_reply, nonsense},
                                           {make_ref(), {applied, 9}}, cancel, {cancel, x},
                                           {'EXIT', self(), kill}, stray])].

the_mailbox_of_a_saga_does_not_grow(Config) ->
    Ctx = gated(Config),
    spawn(fun() -> warp_saga:commit(saga(<<"x">>, [waits_for_gate(<<"g">>)]), Ctx) end),
    at_gate(),
    Lacking = warp_test:restart(Ctx, #{steps => #{}}),
    warp_test:wait_until(fun() ->
        case warp_saga:pending(Lacking) of {ok, [#{state := waiting}]} -> true; Other -> Other end
    end),
    Runner = runner(Lacking, <<"x">>),
    [Runner ! {stray, N} || N <- lists:seq(1, 100000)],
    %% Long before it looks again whether it can go on.
    warp_test:wait_until(fun() ->
        case process_info(Runner, message_queue_len) of {_, 0} -> true; Other -> Other end
    end, 2000),
    ?assertMatch({ok, #{state := waiting}}, warp_saga:status(Lacking, <<"x">>)),
    ?assertMatch({ok, {compensated, _}}, warp_saga:cancel(Lacking, <<"x">>)).

callers_that_gave_up_are_forgotten(Config) ->
    Ctx = gated(Config),
    Saga = saga(<<"x">>, [waits_for_gate(<<"g">>)]),
    Self = self(),
    Patient = [spawn_link(fun() -> Self ! {result, warp_saga:commit(Saga, Ctx)} end) || _ <- lists:seq(1, 5)],
    Waiting = at_gate(),
    [{error, timeout} = warp_saga:commit(Saga, Ctx, #{wait => 0}) || _ <- lists:seq(1, 1000)],
    [begin
         {Pid, Monitor} = spawn_monitor(fun() -> warp_saga:commit(Saga, Ctx) end),
         exit(Pid, kill),
         receive {'DOWN', Monitor, process, Pid, _} -> ok end
     end || _ <- lists:seq(1, 1000)],
    Kept = warp_saga_test:callers(Ctx),
    ?assert(Kept < 200, Kept),
    Waiting ! go,
    [?assertMatch({ok, {committed, _}}, receive {result, Result} -> Result end) || _ <- Patient].

%% --------------------------------------------------------------------------- Secrets

nothing_of_a_saga_is_shown_of_its_keeper(Config) ->
    Ctx = gated(Config),
    [spawn(fun() -> warp_saga:commit(secret(), Ctx) end) || _ <- [1, 2]],
    Waiting = at_gate(),
    [begin
         ok = sys:log(Keeper, true),
         Text = text(sys:get_status(Keeper)),
         ?assertEqual([], found(Text)),
         ?assertNotEqual(nomatch, string:find(Text, "sagas"))
     end || Keeper <- keepers(Ctx)],
    Waiting ! go,
    ok.

a_crash_of_a_keeper_says_nothing_of_its_sagas(Config) ->
    Ctx = gated(Config),
    {ok, N} = warp_nif:shard_of(<<"$warp/saga/x">>, 2),
    {ok, Keeper} = warp_context:registered(context(Ctx), {saga_keeper, N}),
    Texts = said(fun() ->
        Monitor = erlang:monitor(process, Keeper),
        _ = sys:replace_state(Keeper, fun(State) -> setelement(6, State, {not_a_map, ?SECRET}) end),
        Self = self(),
        spawn_link(fun() -> Self ! {asked, warp_saga:commit(secret(), Ctx)} end),
        receive {'DOWN', Monitor, process, Keeper, Why} -> ?assertMatch({crashed, _}, Why) end,
        %% The next keeper is asked again.
        at_gate() ! go,
        receive {asked, Answer} -> ?assertMatch({ok, {committed, _}}, Answer) end
    end),
    ?assertMatch([_ | _], [Text || Text <- Texts, string:find(Text, "warp_saga_keeper") =/= nomatch]),
    [?assertEqual([], found(Text), Text) || Text <- Texts].

%% Its row is taken away under it.
a_crash_of_a_saga_says_nothing_of_it(Config) ->
    Gate = self(),
    No = fun(_, _) ->
        Gate ! {at_gate, self()},
        receive go -> {error, no} end
    end,
    Ctx = warp_test:start(Config, #{steps => #{<<"no">> => No}}),
    Texts = said(fun() ->
        Self = self(),
        Saga = saga(<<"x">>, [step(<<"a">>, <<"Log">>, secret_event(), #{run => <<"no">>}),
                              step(<<"b">>, <<"Debited">>, 1)]),
        spawn_link(fun() -> Self ! {result, warp_saga:commit(Saga, Ctx)} end),
        Pid = at_gate(),
        ok = warp_saga_table:remove(context(Ctx), <<"x">>),
        Pid ! go,
        ?assertMatch({ok, {stuck, _}}, receive {result, Result} -> Result end)
    end),
    ?assertMatch([_], [Text || Text <- Texts, string:find(Text, "the process of saga x") =/= nomatch,
                               string:find(Text, "badmatch") =/= nomatch,
                               string:find(Text, "warp_saga_runner") =/= nomatch]),
    [?assertEqual([], found(Text), Text) || Text <- Texts].

%% --------------------------------------------------------------------------- Helpers

secret() ->
    saga(<<"x">>, [step(<<"a">>, <<"Log">>, secret_event(), secret_event()), waits_for_gate(<<"g">>)]).

secret_event() ->
    #{type => <<"Noted">>, payload => #{text => ?SECRET}}.

found(Text) ->
    [Form || Form <- [?SECRET, io_lib:format("~w", [?SECRET]), io_lib:format("~w", [binary_to_list(?SECRET)])],
             string:find(Text, lists:flatten(io_lib:format("~ts", [Form]))) =/= nomatch].

text(Term) ->
    lists:flatten(io_lib:format("~tp ~tw", [Term, Term])).

%% Everything that the log of the system is given meanwhile, with all terms whole.
said(Fun) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{to => self()}, level => all}),
    try
        Fun(),
        timer:sleep(100),
        logged()
    after
        ok = logger:remove_handler(?MODULE)
    end.

logged() ->
    receive {logged, Text} -> [Text | logged()] after 0 -> [] end.

log(#{msg := Msg, meta := Meta} = Event, #{config := #{to := To}}) ->
    Formatted = logger_formatter:format(Event, #{single_line => true}),
    To ! {logged, text({Msg, maps:with([mfa, error_logger], Meta)}) ++ unicode:characters_to_list(Formatted)},
    ok.

keepers(Ctx) ->
    lists:sort([Pid || {saga_keeper, Pid} <- warp_test:processes(Ctx)]).
