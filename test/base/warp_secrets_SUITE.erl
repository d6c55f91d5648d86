%% What is logged, and what a process says of itself, tells nothing of what users stored.
-module(warp_secrets_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(SECRET, "diagnosis-4711").

all() ->
    [casts_that_fail, entities_that_crash, owners_that_crash, status_of_processes, shapes].

init_per_testcase(_Case, Config) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => info, config => self()}),
    warp_test:init_case(Config).
end_per_testcase(_Case, Config) ->
    ok = logger:remove_handler(?MODULE),
    warp_test:end_case(Config).

%% A handler of logger's, with all that a report has.
log(Event, #{config := Pid}) ->
    Text = io_lib:format("~0tp ~ts", [Event, logger_formatter:format(Event, #{})]),
    Pid ! {logged, unicode:characters_to_binary(Text)}.

logged() ->
    receive {logged, Text} -> [Text | logged()] after 500 -> [] end.

assert_silent(Needle) ->
    Logged = logged(),
    ?assertNotEqual([], [Text || Text <- Logged, binary:match(Text, Needle) =/= nomatch]),
    [?assertEqual(nomatch, binary:match(Text, <<?SECRET>>)) || Text <- Logged].

start(Config) ->
    Ctx = warp_test:start(Config, #{aggregates => [#{
        name => <<"Secret">>, initial_state => #{text => <<?SECRET>>},
        apply => fun(#{text := _} = State, #{payload := Payload}) -> State#{last => Payload} end}]}),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, said()),
    {Ctx, Entity}.

said() ->
    #{type => <<"Said">>, payload => #{text => <<?SECRET>>}}.

casts_that_fail(Config) ->
    {_, Entity} = start(Config),
    [begin
         ok = warp_core:cast(Entity, <<"Secret">>, Fun),
         assert_silent(<<"was not carried out">>)
     end || Fun <- [fun(State) -> error({bad, State}) end, fun(State) -> lists:nth(State, <<?SECRET>>) end,
                    fun(#{none := _}) -> {ok, []} end, fun(State) -> {error, State} end,
                    fun(State) -> throw(State) end, fun(State) -> State end]].

entities_that_crash(Config) ->
    {_, Entity} = start(Config),
    {ok, Pid} = warp_core:pid(Entity),
    Monitor = monitor(process, Pid),
    ok = sys:suspend(Pid),
    Waiting = [spawn_monitor(fun() -> exit(warp_core:append(Entity, said(), #{timeout => 500})) end)
               || _ <- lists:seq(1, 3)],
    timer:sleep(20),
    %% Of a request that no caller makes.
    _ = Pid ! {'$gen_call', {self(), make_ref()}, {warp_request, {append, #{text => <<?SECRET>>}, any}}},
    ok = sys:resume(Pid),
    receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual({shutdown, crashed}, Reason) end,
    assert_silent(<<"crashed">>),
    [receive {'DOWN', Ref, process, _, _} -> ok end || {_, Ref} <- Waiting],
    {ok, _} = warp_core:append(Entity, said()).

owners_that_crash(Config) ->
    {Ctx, Entity} = start(Config),
    [Owner] = [Pid || {journal, Pid} <- warp_test:processes(Ctx)],
    Owner ! {warp_replies, [{none, 1, self(), <<?SECRET>>, 0}], []},
    Owner ! {secret, <<?SECRET>>},
    assert_silent(<<"crashed">>),
    warp_test:wait_until(fun() -> element(1, warp_core:append(Entity, said())) =:= ok end).

status_of_processes(Config) ->
    {Ctx, Entity} = start(Config),
    {ok, Pid} = warp_core:pid(Entity),
    Others = [P || {Part, P} <- warp_test:processes(Ctx), lists:member(Part, [shard, journal, keeper])],
    [?assertEqual(nomatch, binary:match(unicode:characters_to_binary(io_lib:format("~tp", [sys:get_status(P)])),
                                        <<?SECRET>>)) || P <- [Pid | Others]],
    ?assertMatch({match, _}, re:run(io_lib:format("~p", [sys:get_status(Pid)]), "quiet")).

shapes(_Config) ->
    ?assertEqual({overdraft, integer, float, {binary, 3}, {list, 2}, {map, 1}},
                 warp_redact:shape({overdraft, 5, 1.5, <<"abc">>, "ab", #{a => b}})),
    ?assertEqual({a, {b, {c, {tuple, 2}}}}, warp_redact:shape({a, {b, {c, {d, 1}}}})),
    ?assertEqual(improper_list, warp_redact:shape([a | b])).
