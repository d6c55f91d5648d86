%% Where values of Erlang meet those of the engine: whatever is given, it is taken as it is or
%% refused by name, and nothing that Warp runs is worse for it.
-module(warp_border_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include_lib("warp_core/src/base/warp_entity.hrl").

suite() -> [{timetrap, {hours, 3}}].

all() ->
    [a_term_and_its_text_are_taken_or_refused_alike,
     damaged_text_is_taken_or_refused_alike_everywhere,
     values_of_the_border_are_named,
     queries_have_limits_and_finite_results,
     no_argument_of_a_public_function_hurts].

init_per_testcase(_, Config0) ->
    Config = warp_test:init_case(Config0),
    warp_hostile:seed(),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => error, config => #{to => self()}}),
    Config.

end_per_testcase(_, Config) ->
    ok = logger:remove_handler(?MODULE),
    warp_test:end_case(Config).

%% Errors that are logged while a case runs: what Warp runs is not to crash.
log(#{msg := Message}, #{config := #{to := Pid}}) ->
    Pid ! {logged, Message},
    ok.

assert_nothing_logged() ->
    receive {logged, Message} -> error({logged, short(Message)}) after 0 -> ok end.

rounds(N) ->
    case os:getenv("WARP_LONG") of
        false -> N;
        _ -> 20 * N
    end.

a_term_and_its_text_are_taken_or_refused_alike(Config) ->
    {Pack, Check, Alice} = borders(Config),
    Taken = lists:foldl(fun(_, Taken) ->
        Value = #{<<"v">> => warp_hostile:json(4)},
        ByTerm = Pack(Value),
        ?assertEqual({Value, outcome(ByTerm)}, {Value, outcome(Check(Value))}),
        Text = warp_hostile:text_of(Value),
        ByText = case Text of
                     none -> {error, no_text};
                     _ -> Pack(Text)
                 end,
        ?assertEqual({Value, Text, external(ByTerm)}, {Value, Text, external(ByText)}),
        case ByText of
            {ok, _} -> ?assertEqual({Text, taken}, {Text, outcome(Check(Text))});
            _ -> ok
        end,
        [{warp_hostile:one_of([Value, Text]), Read} || {ok, Read} <- [ByTerm]] ++ Taken
    end, [], lists:seq(1, rounds(20000))),
    ?assert(length(Taken) > rounds(20000) div 2),
    ?assert(length(Taken) < rounds(20000)),
    assert_reads_back(Alice, Taken),
    assert_nothing_logged().

damaged_text_is_taken_or_refused_alike_everywhere(Config) ->
    {Pack, Check, Alice} = borders(Config),
    Taken = lists:foldl(fun(_, Taken) ->
        case warp_hostile:text_of(#{<<"v">> => warp_hostile:json(4)}) of
            none ->
                Taken;
            Good ->
                Text = warp_hostile:mutated(Good),
                ByText = Pack(Text),
                ?assertEqual({Text, outcome(ByText)}, {Text, outcome(Check(Text))}),
                case ByText of
                    {ok, Read} ->
                        %% What was read can be given as a term, and is the same.
                        ?assertEqual({Text, external(ByText)}, {Text, external(Pack(Read))}),
                        [{Text, Read} | Taken];
                    {error, {bad_event, 1, payload, Why}} ->
                        ?assert(is_named(Why)),
                        Taken
                end
        end
    end, [], lists:seq(1, rounds(20000))),
    assert_reads_back(Alice, Taken),
    assert_nothing_logged().

values_of_the_border_are_named(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Event = warp_test:saw(#{}),
    Batch = fun(Events) -> warp_core:append_batch(Alice, Events) end,
    [?assertEqual({Events, {error, {bad_event, 1, undefined, not_a_list}}}, {Events, Batch(Events)})
     || Events <- [[Event | tail], [Event | Event], not_a_list, #{}, <<>>, {Event}]],
    [?assertEqual({Given, {error, {bad_event, 1, undefined, not_a_map}}}, {Given, warp_core:append(Alice, Given)})
     || Given <- [[Event | tail], [], <<1:3>>, self()]],
    Bits = <<"abc", 1:1>>,
    [?assertEqual({error, {bad_event, 1, Key, not_a_binary}}, warp_core:append(Alice, Event#{Key => Bits}))
     || Key <- [type, id, aggregate]],
    [?assertMatch({error, {bad_event, 1, Key, _}}, warp_core:append(Alice, Event#{Key => Bits}))
     || Key <- [payload, metadata, schema_vsn]],
    %% All atoms are taken as text, those of other scripts too.
    {ok, 1} = warp_core:append(Alice, Event#{payload => #{'Ж' => 'é', v => '世界'}}),
    ?assertEqual([#{<<"Ж"/utf8>> => <<"é"/utf8>>, <<"v">> => <<"世界"/utf8>>}],
                 [P || #{payload := P} <- warp_test:history(Alice)]),
    assert_nothing_logged().

queries_have_limits_and_finite_results(Config) ->
    Ctx = warp_test:start(Config, #{projections => embedded}),
    warp_test:wait_until(fun() -> element(1, warp_core:query(Ctx, <<"SELECT 1">>, [])) =:= ok end),
    [?assertEqual({error, {sql_error, <<Column/binary, " is infinite, which no Erlang float can be">>}},
                  warp_core:query(Ctx, Sql, []))
     || {Sql, Column} <- [{<<"SELECT 9e999">>, <<"column 1 (9e999)">>},
                          {<<"SELECT 1, -9e999 AS x">>, <<"column 2 (x)">>}]],
    Long = ["SELECT 1", binary:copy(<<" ">>, 1048576)],
    ?assertEqual({error, {sql_error, <<"more than 1 MiB of SQL: pass what is long as parameters">>}},
                 warp_core:query(Ctx, Long, [])),
    ?assertEqual({error, {bad_params, {too_many, 32766}}},
                 warp_core:query(Ctx, <<"SELECT ?1">>, lists:duplicate(32767, 1))),
    ?assertEqual({error, {bad_params, not_a_list}}, warp_core:query(Ctx, <<"SELECT ?1">>, [1 | 2])),
    Deep = {json, #{v => binary:copy(<<1>>, 1048000)}},
    ?assertMatch({error, {bad_param, 1, {too_large, _, 1048576}}}, warp_core:query(Ctx, <<"SELECT ?1">>, [Deep])),
    assert_nothing_logged().

no_argument_of_a_public_function_hurts(Config) ->
    Contexts =
        [warp_test:start(Config, #{context => Name, mode => Mode, projections => Projections})
         || {Name, Mode, Projections} <- [{<<"resident">>, actor, none}, {<<"through">>, read_through, none},
                                             {<<"projected">>, actor, embedded}]],
    Before = processes_of_warp(),
    lists:foreach(fun(_) ->
        Ctx = warp_hostile:one_of(Contexts),
        {Function, Args, IsHandle} = call(Ctx, Config),
        Answer = answer(Function, Args),
        is_fine(Function, Answer, IsHandle) orelse error({Function, short(Args), short(Answer)})
    end, lists:seq(1, rounds(400))),
    ?assertEqual(Before, processes_of_warp()),
    [begin
         Probe = warp_core:entity(Ctx, <<"probe">>),
         ?assertEqual({ok, 1}, warp_core:append(Probe, warp_test:credited(1))),
         ?assertEqual({ok, 1}, warp_core:get(Probe, <<"Account">>))
     end || Ctx <- Contexts],
    assert_nothing_logged().

%% ------------------------------------------------------ Terms and their texts

%% What packs by rules with states, and by those of a pure log, and an entity of the first.
borders(Config) ->
    Ctx = warp_test:start(Config),
    {ok, #{rules := Folding}} = warp_context:find(Ctx),
    Pure = warp_nif:rules([{<<"Log">>, 1, false}], []),
    Event = fun(Payload) -> #{type => <<"T">>, payload => Payload, aggregate => <<"Log">>} end,
    Pack = fun(Payload) ->
        case warp_entity_pack:pack_with(Folding, <<"e">>, undefined, [(Event(Payload))#{aggregate => <<"Seen">>}]) of
            {ok, #{events := [{<<"T">>, Read, _, _, _, _}]}} -> {ok, Read};
            {error, _} = Error -> Error
        end
    end,
    Check = fun(Payload) ->
        case warp_entity_pack:pack_with(Pure, <<"e">>, undefined, [Event(Payload)]) of
            {ok, #{events := none}} -> {ok, taken};
            {error, _} = Error -> Error
        end
    end,
    {Pack, Check, warp_core:entity(Ctx, <<"alice">>)}.

outcome({ok, _}) -> taken;
outcome({error, {bad_event, 1, payload, Why}}) ->
    ?assert(is_named(Why)),
    refused.

external({ok, Read}) -> {taken, term_to_binary(Read, [deterministic])};
external({error, _}) -> refused.

is_named({Name, Text}) when Name =:= invalid_json; Name =:= not_json -> is_binary(Text);
is_named({too_deep, 128}) -> true;
is_named(not_an_object) -> true;
is_named(_) -> false.

assert_reads_back(Entity, Taken) ->
    %% Small packed events count as memory that is held until the process that packed them collects its garbage.
    true = erlang:garbage_collect(),
    Chunks = chunks(Taken, 500),
    [?assertMatch({ok, _}, warp_core:append_batch(Entity, [warp_test:saw(Given) || {Given, _} <- Chunk]))
     || Chunk <- Chunks],
    {ok, Events} = warp_core:export(Entity),
    ?assertEqual([external({ok, Read}) || {_, Read} <- Taken], [external({ok, P}) || #{payload := P} <- Events]).

chunks([], _) -> [];
chunks(List, N) when length(List) =< N -> [List];
chunks(List, N) ->
    {Chunk, Rest} = lists:split(N, List),
    [Chunk | chunks(Rest, N)].

%% ------------------------------------------------- Calls of public functions

call(Ctx, Config) ->
    Entity = case rand:uniform(6) of
                 1 -> warp_core:entity(Ctx, warp_hostile:term());
                 2 -> warp_hostile:term();
                 _ -> warp_core:entity(Ctx, <<"e", ($0 + rand:uniform(9))>>)
             end,
    Handle = case rand:uniform(10) of
                 1 -> warp_hostile:term();
                 _ -> Ctx
             end,
    Aggregate = maybe_odd(<<"Account">>),
    {Function, Args} = warp_hostile:one_of(
        [{append, [Entity, event()]}, {append, [Entity, event(), options()]},
         {append_batch, [Entity, events()]}, {append_batch, [Entity, events(), options()]},
         {append_request, [Entity, event()]}, {append_request, [Entity, event(), options()]},
         {append_batch_request, [Entity, events(), options()]},
         {receive_response, [warp_hostile:term(), maybe_odd(1)]}, {check_response, [warp_hostile:term(), maybe_odd(x)]},
         {wait_response, [maybe_odd(warp_core:reqids_new()), maybe_odd(1), maybe_odd(true)]},
         {decide, [Entity, Aggregate, decision()]}, {decide, [Entity, Aggregate, decision(), options()]},
         {cast, [Entity, Aggregate, decision()]}, {pid, [Entity]},
         {get, [Entity, Aggregate]}, {state_at, [Entity, Aggregate, maybe_odd({seq, 1})]},
         {history, [Entity]}, {history, [Entity, options()]}, {export, [Entity]}, {delete, [Entity]},
         {query, [Handle, maybe_odd(<<"SELECT ?1">>), maybe_odd([maybe_odd(1)])]},
         {query, [Handle, maybe_odd(<<"SELECT 1">>), [], options()]},
         {await_projection, [Entity, maybe_odd(100)]},
         {stats, [Handle]}, {entity, [Handle, warp_hostile:term()]},
         {stop, [warp_hostile:term()]}, {start, [start_options(Config)]}]),
    {Function, Args, not is_record(hd(Args), warp_entity) andalso hd(Args) =/= Ctx}.

maybe_odd(Good) ->
    case rand:uniform(2) of
        1 -> Good;
        2 -> warp_hostile:term()
    end.

event() ->
    case rand:uniform(5) of
        1 -> warp_hostile:term();
        2 -> warp_test:credited(1);
        _ ->
            Key = warp_hostile:one_of([type, payload, aggregate, id, schema_vsn, metadata, seq, recorded_at,
                                       warp_hostile:term()]),
            (warp_test:saw(#{}))#{Key => warp_hostile:term()}
    end.

events() ->
    warp_hostile:one_of([[event()], [event(), event()], [event() | event()], warp_hostile:term()]).

options() ->
    case rand:uniform(4) of
        1 -> warp_hostile:term();
        2 -> #{timeout => 1000};
        _ -> #{warp_hostile:one_of([expected, timeout, from, limit, direction, max_rows, level,
                                    warp_hostile:term()]) => warp_hostile:term()}
    end.

decision() ->
    Return = warp_hostile:one_of(
        [{ok, events()}, {ok, [], [{warp_hostile:term(), x}]}, {ok, [warp_test:credited(1)], warp_hostile:term()},
         {ok, events(), [{self(), hello} | warp_hostile:term()]}, {error, warp_hostile:term()},
         warp_hostile:term()]),
    warp_hostile:one_of([fun(_) -> Return end, fun(_) -> Return end, fun(_) -> throw(Return) end,
                         fun(_) -> exit(Return) end, fun(_) -> error(Return) end, warp_hostile:term()]).

start_options(Config) ->
    Good = #{context => <<"other">>, data_dir => proplists:get_value(dir, Config), shards => 1,
             aggregates => [warp_test:account()]},
    Key = warp_hostile:one_of([context, data_dir, aggregates, shards, mode, durability, snapshot_every,
                               idle_timeout, max_pending, steps, cluster, projections, warp_hostile:term()]),
    case rand:uniform(5) of
        1 -> warp_hostile:term();
        2 -> Good#{aggregates => [#{warp_hostile:one_of([name, initial_state, apply, validate, migrate, version,
                                                         project]) => warp_hostile:term()}
                                  | maybe_odd([])]};
        3 -> Good#{aggregates => [(warp_test:account())#{warp_hostile:one_of([name, apply, version, validate])
                                                             => warp_hostile:term()}]};
        _ when Key =:= data_dir -> Good#{data_dir := inside(proplists:get_value(dir, Config), warp_hostile:term())};
        _ -> Good#{Key => warp_hostile:term()}
    end.

%% A folder that is not in the one that all tests run in: other VMs say something of one with an odd name.
inside(Dir, Term) ->
    try
        filename:join(Dir, Term)
    catch
        error:_ -> Term
    end.

%% What it answers, in a process of its own.
answer(Function, Args) ->
    {Pid, Ref} = spawn_monitor(fun() ->
        Answer = try {answered, received(Function, apply(warp_core, Function, Args))}
                 catch Class:Reason:Stack -> {raised, Class, Reason, Stack}
                 end,
        exit({done, Answer})
    end),
    receive
        {'DOWN', Ref, process, Pid, {done, Answer}} -> Answer;
        {'DOWN', Ref, process, Pid, Reason} -> {died, Reason}
    after 20000 ->
        {no_answer, erlang:process_info(Pid, current_stacktrace)}
    end.

received(Function, Request) when Function =:= append_request; Function =:= append_batch_request ->
    warp_core:receive_response(Request, 10000);
received(_Function, Answer) ->
    Answer.

is_fine(wait_response, {answered, no_request}, _) -> true;
is_fine(start, {answered, {ok, Ctx}}, _) -> warp_core:stop(Ctx) =:= ok;
is_fine(_, {answered, ok}, _) -> true;
is_fine(_, {answered, {ok, _}}, _) -> true;
%% The function that decides may refuse with anything.
is_fine(decide, {answered, {error, _}}, _) -> true;
is_fine(_, {answered, {error, Reason}}, _) -> is_in_the_catalogue(Reason);
is_fine(entity, {answered, #warp_entity{}}, _) -> true;
is_fine(stats, {answered, #{}}, _) -> true;
%% Only what is no handle at all is not told from a programming error.
is_fine(_, {raised, error, {not_a_context, _}, _}, IsNoHandle) -> IsNoHandle;
is_fine(_, _, _) -> false.

is_in_the_catalogue(Reason) ->
    nomatch =:= string:prefix(warp_error:format_error(Reason), "Warp has no text").

short(Term) ->
    unicode:characters_to_binary(io_lib:format("~0tP", [Term, 40])).

%% All but those of entities, which come and go.
processes_of_warp() ->
    lists:sort([Pid || {_, Pid, supervisor, [Module]} <- below(warp_core_sup), Module =/= warp_entity_sup]).

below(Supervisor) ->
    Children = supervisor:which_children(Supervisor),
    Children ++ lists:append([below(Pid) || {_, Pid, supervisor, [Module]} <- Children, is_pid(Pid),
                                            Module =/= warp_entity_sup]).
