%% Inputs of any size: what is too large is said before it is copied, no scheduler is held up by it,
%% and what many callers append at once holds only so much memory. Each in a VM of its own, whose
%% peak of memory is looked at.
-module(warp_large_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-define(MIB, (1024 * 1024)).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [what_is_too_large_is_refused_without_a_copy,
     large_batches_of_many_callers_hold_little_memory,
     what_is_stored_is_let_go_though_its_caller_still_refers_to_it,
     a_saga_waits_for_memory].

init_per_testcase(_, Config) ->
    Vm = warp_fault_vm:start(#{}),
    Dir = warp_test:new_dir(),
    ok = warp_fault_vm:run(Vm, fun() -> warp_fault_vm:open(#{data_dir => Dir}) end),
    [{vm, Vm}, {dir, Dir} | Config].

end_per_testcase(_, Config) ->
    warp_fault_vm:stop(proplists:get_value(vm, Config)),
    warp_test:remove_dir(proplists:get_value(dir, Config)).

what_is_too_large_is_refused_without_a_copy(Config) ->
    in_vm(Config, fun() ->
        Alice = warp_fault_vm:entity(<<"alice">>),
        {ok, 1} = warp_core:append(Alice, warp_test:noted(<<"small">>)),
        Control = binary:copy(<<1>>, 64 * ?MIB),
        Invalid = list_to_binary([Control, 255]),
        Many = lists:duplicate(5000000, 0),
        Improper = lists:foldl(fun(_, Tail) -> [0 | Tail] end, tail, lists:seq(1, 5000000)),
        Wide = maps:from_keys(lists:seq(1, 200000), 0),
        Huge = 1 bsl 4000000,
        Mebibyte = binary:copy(<<1>>, ?MIB - 100),
        Note = warp_test:noted(<<"x">>),
        Payload = fun(P) -> fun() -> warp_core:append(Alice, Note#{payload => P}) end end,
        Field = fun(Key, Value) -> fun() -> warp_core:append(Alice, Note#{Key => Value}) end end,
        Cases =
            [{{text, Size}, {payload, too_large}, Payload(Text)}
             || {Size, Text} <- [{bytes, Control}, {invalid, Invalid}]]
            ++ [{string, {payload, too_large}, Payload(#{t => Control})},
                {string_that_grows, {payload, too_large}, Payload(#{t => Mebibyte})},
                {strings_that_grow, {payload, too_large}, Payload(#{t => lists:duplicate(100, Mebibyte)})},
                {not_utf8, {payload, too_large}, Payload(#{t => Invalid})},
                {key, {payload, too_large}, Payload(#{Control => 1})},
                {list, {payload, too_large}, Payload(#{t => Many})},
                {improper, {payload, too_large}, Payload(#{t => Improper})},
                {deep_in, {payload, too_large}, Payload(#{t => #{t => [[Control]]}})},
                {keys, {payload, not_json}, Payload(Wide)},
                {integer, {payload, not_json}, Payload(#{t => Huge})},
                {metadata, {metadata, too_large}, Field(metadata, #{t => Control})},
                {type, {type, too_long}, Field(type, Control)},
                {id, {id, too_long}, Field(id, Control)},
                {aggregate, unknown_aggregate, Field(aggregate, Control)},
                {vsn, {schema_vsn, not_a_positive_integer}, Field(schema_vsn, Huge)},
                {events, batch_too_large, fun() -> warp_core:append_batch(Alice, Many) end},
                {improper_events, {undefined, not_a_list}, fun() -> warp_core:append_batch(Alice, Improper) end},
                {entity, bad_entity_id,
                 fun() -> warp_core:append(warp_fault_vm:entity(Control), Note) end}],
        erlang:garbage_collect(),
        Peak0 = peak_bytes(),
        _ = erlang:system_monitor(self(), [{long_schedule, 20}]),
        Took = [begin
                    {Micros, Result} = timer:tc(Try),
                    ?assertEqual({Name, Why}, {Name, why(Result)}),
                    {Name, Micros}
                end || {Name, Why, Try} <- Cases],
        Long = held_up([]),
        Grown = (peak_bytes() - Peak0) div ?MIB,
        {Grown, Took, Long}
    end, fun({Grown, Took, Long}) ->
        ct:pal("grown by ~b MiB; microseconds: ~p; schedulers held up: ~p", [Grown, Took, Long]),
        ?assert(Grown < 32)
    end).

large_batches_of_many_callers_hold_little_memory(Config) ->
    in_vm(Config, fun() ->
        %% One text for all, so that what Warp holds is what grows.
        Text = <<"{\"t\":\"", (binary:copy(<<"x">>, 999000))/binary, "\"}">>,
        Batch = lists:duplicate(15, #{aggregate => <<"Log">>, type => <<"T">>, payload => Text}),
        {ok, 1} = warp_core:append(warp_fault_vm:entity(<<"first">>), warp_test:noted(<<"x">>)),
        Peak0 = peak_bytes(),
        Answers = warp_test:parallel(64, fun(N) ->
            Entity = warp_fault_vm:entity(<<"entity ", (integer_to_binary(N))/binary>>),
            {warp_core:append_batch(Entity, Batch, #{timeout => infinity}), Entity}
        end),
        Grown = (peak_bytes() - Peak0) div ?MIB,
        Stored = [Entity || {{ok, {1, 15}}, Entity} <- Answers],
        Refused = [Entity || {{error, overloaded}, Entity} <- Answers],
        ?assertEqual(64, length(Stored) + length(Refused)),
        [warp_test:assert_whole(Entity, 15) || Entity <- lists:sublist(Stored, 3)],
        [warp_test:assert_whole(Entity, 0) || Entity <- Refused],
        %% All that was held is given back, once it is in the files.
        [warp_test:wait_until(fun() ->
             case warp_core:append_batch(Entity, Batch, #{timeout => infinity}) of
                 {ok, {1, 15}} -> true;
                 {error, overloaded} -> false
             end
         end, 30000) || Entity <- lists:sublist(Refused, 10)],
        {Grown, length(Stored)}
    end, fun({Grown, Stored}) ->
        ct:pal("64 batches of 15 MB: grown by ~b MiB, ~b stored at once", [Grown, Stored]),
        ?assert(Stored > 0),
        ?assert(Grown < 512)
    end).

%% A process may keep a reference to what it has appended as garbage for long.
what_is_stored_is_let_go_though_its_caller_still_refers_to_it(Config) ->
    in_vm(Config, fun() ->
        {ok, Context} = warp_context:find(warp_fault_vm:ctx()),
        {ok, Handle} = warp_context:shard(Context, 0),
        [begin
             Payload = #{t => binary:copy(<<"x">>, Bytes)},
             Event = #{aggregate => <<"Log">>, type => <<"T">>, payload => Payload},
             {ok, #{packed := Packed}} = warp_entity_pack:pack(Context, Id, undefined, [Event]),
             [begin
                  case warp_nif:submit(Handle, Id, 0, [{Packed, 1 bsl 50}], none) of
                      ok -> receive {warp_reply, Answer} -> element(1, Answer) end;
                      {error, _} = Error -> Error
                  end
              end || _ <- [first, again]]
         end || {Id, Bytes} <- [{<<"small">>, 1000}, {<<"larger">>, 4096}]]
    end, fun(Answers) ->
        ?assertEqual([[stored, wrong_base], [stored, {error, interrupted}]], Answers)
    end).

%% What is held too much is no reason for a saga to turn back.
a_saga_waits_for_memory(Config) ->
    in_vm(Config, fun() ->
        Ctx = warp_fault_vm:ctx(),
        _ = warp_saga_test:fund(Ctx, <<"alice">>, 10),
        {ok, Context} = warp_context:find(Ctx),
        Self = self(),
        Holder = spawn_link(fun() ->
            Held = hold(Context, []),
            Self ! {self(), holds},
            receive go -> length(Held) end
        end),
        receive {Holder, holds} -> ok end,
        ?assertEqual({error, overloaded},
                     warp_core:append(warp_fault_vm:entity(<<"alice">>), warp_test:credited(1))),
        Saga = warp_saga_test:transfer(<<"t">>, <<"alice">>, <<"bob">>, 7),
        ?assertEqual({error, timeout}, warp_saga:commit(Saga, Ctx, #{retries => 1000, wait => 300})),
        ?assertEqual([], [Id || Id <- warp_saga_test:ids(Ctx, <<"bob">>)]),
        Holder ! go,
        Result = warp_saga:commit(Saga, Ctx, #{retries => 1000}),
        {Result, warp_saga_test:balances(Ctx, [<<"alice">>, <<"bob">>])}
    end, fun({Result, Balances}) ->
        ?assertMatch({ok, _}, Result),
        ?assertEqual([3, 7], Balances)
    end).

hold(Context, Held) ->
    Text = <<"{\"t\":\"", (binary:copy(<<"x">>, 999000))/binary, "\"}">>,
    Batch = lists:duplicate(15, #{aggregate => <<"Log">>, type => <<"T">>, payload => Text}),
    case warp_entity_pack:pack(Context, <<"held">>, undefined, Batch) of
        {ok, Packed} -> hold(Context, [Packed | Held]);
        {error, overloaded} -> Held
    end.

%% ---------------------------------------------------------------- helpers

in_vm(Config, Fun, Check) ->
    Check(warp_fault_vm:run(proplists:get_value(vm, Config), Fun)).

why({error, {bad_event, 1, Field, Why}}) -> {Field, first(Why)};
why({error, Why}) -> first(Why).

first(Why) when is_tuple(Why) -> element(1, Why);
first(Why) -> Why.

held_up(Found) ->
    receive {monitor, _, long_schedule, Info} -> held_up([Info | Found])
    after 0 -> Found
    end.

%% The most memory that the VM had so far.
peak_bytes() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [KiB]} = re:run(Status, "VmHWM:\\s+(\\d+) kB", [{capture, [1], binary}]),
    binary_to_integer(KiB) * 1024.
