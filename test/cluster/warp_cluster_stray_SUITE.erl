%% What a node with a fault, or of another version, may send: nothing of it takes the other node down.
-module(warp_cluster_stray_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_wrong_message_is_ignored/1, only_what_is_served_is_called/1, failing_calls_are_said_once/1]).
-import(proper_types, [any/0, bind/3, frequency/1, list/1, oneof/1]).
%% Inside a VM
-export([log/2, processes_here/0, parts_here/0, identity/0]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [a_wrong_message_is_ignored, only_what_is_served_is_called, failing_calls_are_said_once].

init_per_testcase(_Case, Config) ->
    Dir = warp_test:new_dir(),
    [A, B] = Vms = [warp_cluster_vm:start(Name, Dir) || Name <- [a, b]],
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:migrate(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
    ok = warp_cluster_vm:run(A, fun() ->
        _ = spawn(fun() ->
            ets:new(?MODULE, [named_table, public, bag]),
            receive stop -> ok end
        end),
        logger:add_handler(?MODULE, ?MODULE, #{level => warning})
    end),
    [{a, A}, {b, B}, {dir, Dir} | Config].

end_per_testcase(_Case, Config) ->
    _ = [catch warp_cluster_vm:kill(proplists:get_value(Name, Config)) || Name <- [a, b]],
    warp_test:remove_dir(proplists:get_value(dir, Config)).

rounds() ->
    case os:getenv("WARP_LONG") of false -> 150; _ -> 5000 end.

%% ------------------------------------------------------------------ Cases

a_wrong_message_is_ignored(Config) ->
    {A, B} = {proplists:get_value(a, Config), proplists:get_value(b, Config)},
    Processes = warp_cluster_vm:run(A, fun ?MODULE:processes_here/0),
    ?assert(length(Processes) >= 12),
    #{from := #{pid := Caller}} = Identity = warp_cluster_vm:run(B, fun ?MODULE:identity/0),
    Known = messages(Identity, warp_cluster_vm:run(A, fun ?MODULE:parts_here/0)),
    Messages = proper_types:vector(30, message(Processes, Known, Caller)),
    Lines = lines(A),
    Ignored = proper:forall(Messages, fun(Sent) ->
        ok = send(B, Sent),
        {Processes, [ok]} =:= {warp_cluster_vm:run(A, fun ?MODULE:processes_here/0), append_each(A)}
    end),
    ?assert(proper:quickcheck(Ignored, [{numtests, rounds()}, {max_size, 20}, {to_file, user}])),
    %% As before, both nodes serve and are linked.
    ?assertEqual([ok], append_each(B)),
    {ok, Members} = warp_cluster_vm:run(A, fun() -> warp_cluster:members(warp_cluster_vm:ctx()) end),
    ?assertMatch([#{state := up, is_linked := true}, #{state := up, is_linked := true}], Members),
    {ok, #{phase := member}} = warp_cluster_vm:run(A, fun() -> warp_cluster:status(warp_cluster_vm:ctx()) end),
    %% Each process says once that it ignores something, and once in a minute that a call has failed.
    Said = lines(A) -- Lines,
    ?assert(length(Said) =< 2 * length(Processes) + 2, Said).

only_what_is_served_is_called(Config) ->
    {A, B} = {proplists:get_value(a, Config), proplists:get_value(b, Config)},
    Ctx = warp_cluster_vm:run(A, fun warp_cluster_vm:ctx/0),
    [Server | _] = servers(A),
    Call = fun(Message) ->
        warp_cluster_vm:run(B, fun() ->
            Alias = erlang:alias([reply]),
            Server ! setelement(2, Message, Alias),
            receive {[alias | Alias], Answer} -> Answer after 5000 -> nothing end
        end)
    end,
    Entity = warp_cluster_vm:run(A, fun() -> warp_cluster_vm:entity(<<"e">>) end),
    Calls = [{warp_core, stop, [Ctx]}, {init, stop, []}, {warp_core, get, [Entity]}, {warp_cluster, leave, [Ctx]},
             {warp_nif, fault, [off]}],
    [?assertEqual({error, {unknown_request, {Module, Function, length(Args)}}}, Call(Message))
     || {Module, Function, Args} <- Calls,
        Message <- [{warp_call, alias, {Module, Function, Args}},
                    {warp_call, alias, {Module, Function, Args, {key, 0, 1}}}]],
    ?assertEqual({error, {unknown_request, {warp_core, get, 3}}},
                 Call({warp_request, alias, {warp_core, get, [Entity, <<"Account">>, #{}]}})),
    ?assertEqual([], [MFA || {Module, Function, Arity} = MFA <- warp_cluster_served:all(),
                             {module, Module} =:= code:ensure_loaded(Module),
                             not erlang:function_exported(Module, Function, Arity)]),
    %% What one node reads of another one's log is no function of the engine's that changes something.
    Context = {clustered, <<"bank">>},
    ?assertEqual({error, interrupted},
                 Call({warp_call, alias, {warp_cluster_log, serve, [Context, {node(), make_ref()}, 0, close, []]}})),
    ?assertEqual([ok], append_each(A)).

%% A node of another version asks thousands of times for what it does not have.
failing_calls_are_said_once(Config) ->
    {A, B} = {proplists:get_value(a, Config), proplists:get_value(b, Config)},
    Servers = servers(A),
    Lines = lines(A),
    ok = warp_cluster_vm:run(B, fun() ->
        Bad = {warp_call, make_ref(), {warp_cluster_log, serve, [wrong, wrong, wrong, wrong, wrong]}},
        _ = [Server ! Bad || Server <- Servers, _ <- lists:seq(1, 200)],
        ok
    end),
    ok = warp_test:wait_until(fun() -> append_each(B) =:= [ok] end),
    timer:sleep(500),
    ?assert(length(lines(A) -- Lines) =< length(Servers), lines(A) -- Lines).

%% ------------------------------------------------------------------ What is sent

send(Vm, Messages) ->
    warp_cluster_vm:run(Vm, fun() -> lists:foreach(fun({To, Message}) -> To ! Message end, Messages) end).

%% To whom, and what: mostly something wrong of the kind that this process gets.
message(Processes, Known, Caller) ->
    To = oneof(Processes),
    frequency([{6, bind({oneof(Known), path(), odd()},
                        fun({{Whom, Message}, Path, Odd}) -> {oneof(Whom), replaced(Path, Message, Odd)} end, false)},
               {1, {To, any()}},
               {1, {To, {'$gen_cast', any()}}},
               {1, {To, {'$gen_call', {Caller, make_ref()}, any()}}}]).

%% Which part of a term, which part of that, and so on.
path() -> proper_types:non_empty(list(proper_types:range(0, 59))).

odd() ->
    oneof([wrong, -1, 1.5, <<1:3>>, {}, {wrong}, "wrong", proper_types:exactly([wrong | wrong]), 1 bsl 70,
           fun erlang:halt/0]).

replaced([Nth | Path], Term, Odd) when is_tuple(Term), tuple_size(Term) > 0 ->
    At = 1 + Nth rem tuple_size(Term),
    setelement(At, Term, replaced(Path, element(At, Term), Odd));
replaced([Nth | Path], Term, Odd) when is_map(Term), map_size(Term) > 0 ->
    Key = lists:nth(1 + Nth rem map_size(Term), lists:sort(maps:keys(Term))),
    case Nth rem 5 of
        0 -> maps:remove(Key, Term);
        1 -> (maps:remove(Key, Term))#{Odd => maps:get(Key, Term)};
        _ -> Term#{Key := replaced(Path, maps:get(Key, Term), Odd)}
    end;
replaced([Nth | Path], Term, Odd) when length(Term) > 0 ->
    {Before, [Of | Behind]} = lists:split(Nth rem length(Term), Term),
    Before ++ [replaced(Path, Of, Odd) | Behind];
replaced(_Path, _Term, Odd) ->
    Odd.

%% All that nodes send each other, as node B would, with the processes that get it.
messages(#{from := From, hello := Hello, members := Members, owners := Owners, entity := Entity},
         #{node := Node, member := Member, servers := [Pid | _] = Servers}) ->
    Attempt = <<0:128>>,
    Said = [{hello, Hello}, {members, Members}, {owners, Owners}]
           ++ [{handoff, {0, Handoff}} || Handoff <- [{offer, 1, Attempt}, {void, 1, Attempt}, {copied, 1, Attempt},
                                                     {accept, 1, Attempt}, {abandon, 1, Attempt}, {owned, 1, Attempt},
                                                     {refuse, 1, Attempt, busy}, {given, 1, Attempt, Attempt},
                                                     {staged, 1, Attempt, Attempt}, {frozen, 1, Attempt, Attempt, []}]],
    Get = [Entity, <<"Account">>, #{}],
    Ref = make_ref(),
    ToServers = [{warp_call, Ref, {warp_core, get, Get}}, {warp_call, Ref, {warp_core, get, Get, {key, 0, 1}}},
                 {warp_call, Ref, {warp_cluster_log, serve, [{clustered, <<"bank">>}, {node(), Ref}, 0, position, []]}},
                 {warp_request, Ref, {warp_core, append_request, [Entity, #{}, #{}]}},
                 {warp_arm, 0}, {warp_sleep, 0, Pid}, {warp_tell, Pid, 0}, {warp_log_grew, 0}, {log_grew, 0},
                 {warp_waiting, 0}, {warp_answer, Ref, answer}, {[alias | Ref], answer}],
    [{[Node], {warp_cluster, <<"bank">>, {From, What}}} || What <- Said]
    ++ [{[Member], {warp_cluster, {From, What}}} || What <- Said]
    ++ [{Servers, Message} || Message <- ToServers].

%% ------------------------------------------------------------------ Node A

append_each(Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        lists:usort([element(1, warp_core:append(warp_cluster_vm:entity(<<"e", N>>), warp_test:credited(1)))
                     || N <- lists:seq($a, $p)])
    end).

lines(Vm) -> warp_cluster_vm:run(Vm, fun() -> lists:sort(ets:tab2list(?MODULE)) end).

servers(Vm) -> maps:get(servers, warp_cluster_vm:run(Vm, fun ?MODULE:parts_here/0)).

%% ------------------------------------------------------------------ Inside a VM

log(Event, _Config) ->
    Text = unicode:characters_to_binary(logger_formatter:format(Event, #{single_line => true})),
    ets:insert(?MODULE, {erlang:unique_integer([monotonic]), Text}).

%% What has a name, and what other nodes know of the context: all but supervisors.
processes_here() ->
    {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
    Named = [Pid || Name <- registered(), "warp_" ++ _ <- [atom_to_list(Name)], Pid <- [whereis(Name)],
                    not is_supervisor(Pid)],
    #{member := Member, servers := Servers} = parts_here(),
    {ok, Mover} = warp_context:registered(Context, mover),
    lists:usort([Mover, Member | Named ++ Servers]).

parts_here() ->
    {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
    {ok, Member} = warp_context:registered(Context, cluster),
    #{node => whereis(warp_node), member => Member,
      servers => [element(2, {ok, _} = warp_context:registered(Context, {cluster_server_nth, Nth}))
                  || Nth <- lists:seq(1, 8)]}.

is_supervisor(Pid) -> element(1, proc_lib:initial_call(Pid)) =:= supervisor.

%% Who this node is for others, and what it says.
identity() ->
    Ctx = warp_cluster_vm:ctx(),
    {ok, Context} = warp_context:of_handle(Ctx),
    #{member := Pid, servers := Servers} = parts_here(),
    #{members := #{} = Members, owners := Owners, cluster := Cluster} = warp_cluster_member:info(Context),
    #{member := Member, incarnation := Incarnation, start := Start} = maps:get(node(), Members),
    #{from => #{node => node(), pid => Pid, member => Member, incarnation => Incarnation, start => Start},
      hello => #{shards => 8, phase => member, cluster => Cluster, is_empty => false, is_linked => true,
                 servers => list_to_tuple(Servers), members => maps:values(Members), owners => Owners},
      members => maps:values(Members), owners => Owners, entity => warp_cluster_vm:entity(<<"ea">>)}.
