%% scripts/check-rooms, on small sources: what it must find, and what it must not.
-module(warp_rooms_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([calls_downwards_are_fine/1, a_circle_is_found/1, a_circle_through_a_third_module_is_found/1,
         a_call_upwards_is_found/1, a_call_between_strangers_is_found/1,
         a_table_is_used_by_the_module_that_makes_it/1, callbacks_and_types_are_no_calls/1,
         an_unknown_room_is_refused/1, a_source_that_is_not_compiled_is_refused/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

all() ->
    [calls_downwards_are_fine, a_circle_is_found, a_circle_through_a_third_module_is_found,
     a_call_upwards_is_found, a_call_between_strangers_is_found, a_table_is_used_by_the_module_that_makes_it,
     callbacks_and_types_are_no_calls, an_unknown_room_is_refused,
     a_source_that_is_not_compiled_is_refused].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

calls_downwards_are_fine(Config) ->
    {0, Said} = check(Config, [{"base", low, "f() -> 1."},
                               {"entity", middle, "f() -> low:f()."},
                               {"entity", other, "f() -> middle:f()."},
                               {".", high, "f() -> other:f() + low:f()."}]),
    ?assertEqual(<<"4 modules: no circle, no call to a higher room, no table of two modules\n">>, Said).

a_circle_is_found(Config) ->
    {1, Said} = check(Config, [{"entity", one, "f() -> two:g().\ng() -> 1."},
                               {"entity", two, "f() -> 2.\ng() ->\n one:g()."}]),
    assert_said(["These 2 modules call each other in circles: one, two\n",
                 "src/entity/one.erl:3: one:f/0 calls two:g/0\n",
                 "src/entity/two.erl:5: two:g/0 calls one:g/0\n",
                 "\n1 circles, 0 calls to a higher room, 0 uses of another module's table\n"], Said).

a_circle_through_a_third_module_is_found(Config) ->
    {1, Said} = check(Config, [{"base", one, "f() -> fun two:f/0."},
                               {"base", two, "f() -> three:f()."},
                               {"base", three, "f() -> spawn(one, f, [])."},
                               {"base", beside, "f() -> one:f()."}]),
    assert_said(["These 3 modules call each other in circles: one, three, two\n"], Said).

a_call_upwards_is_found(Config) ->
    {1, Said} = check(Config, [{"shard", low, "f() -> high:f(1)."},
                               {"entity", high, "f(_) -> 1."}]),
    assert_said(["src/shard/low.erl:3: low:f/0 calls high:f/1\n  The room entity is above The room shard.\n",
                 "\n0 circles, 1 calls to a higher room, 0 uses of another module's table\n"], Said).

a_call_between_strangers_is_found(Config) ->
    {1, Said} = check(Config, [{"saga", one, "f() -> 1."},
                               {"projection", two, "f() -> one:f()."}]),
    assert_said(["two:f/0 calls one:f/0\n  projection and saga must not call each other.\n"], Said).

a_table_is_used_by_the_module_that_makes_it(Config) ->
    {1, Said} = check(Config, [{"base", own, "f() -> T = ets:new(t, []), ets:insert(T, {1, 2}), T."},
                               {"base", other, "-type t() :: ets:table().\n-export_type([t/0]).\n"
                                               "f() -> ets:lookup(own:f(), 1)."}]),
    assert_said(["src/base/other.erl:5: other:f/0 calls ets:lookup/2\n",
                 "\n0 circles, 0 calls to a higher room, 1 uses of another module's table\n"], Said).

callbacks_and_types_are_no_calls(Config) ->
    {0, _} = check(Config, [{"base", low, "-behaviour(high).\n-spec f() -> high:t().\nf() -> 1."},
                            {"entity", high, "-type t() :: integer().\n-export_type([t/0]).\n"
                                             "-callback f() -> t().\nf() -> low:f()."}]).

an_unknown_room_is_refused(Config) ->
    {2, Said} = check(Config, [{"cellar", low, "f() -> 1."}]),
    assert_said(["src/cellar/low.erl: the folder cellar is not in the list of rooms."], Said).

a_source_that_is_not_compiled_is_refused(Config) ->
    Modules = [{"base", low, "f() -> 1."}],
    {0, _} = check(Config, Modules),
    ok = file:delete(filename:join(?config(dir, Config), "low.beam")),
    {2, Said} = run(Config),
    assert_said(["src/base/low.erl is not compiled, or was changed since. Run `rebar3 compile` first."], Said).

assert_said(Texts, Said) ->
    [binary:match(Said, list_to_binary(Text)) =/= nomatch orelse error({not_said, Text, Said}) || Text <- Texts].

%% {ExitStatus, WhatItPrints} for modules of one function or several: {Room, Name, Text}.
check(Config, Modules) ->
    Dir = ?config(dir, Config),
    Behaviours = fun({_, _, Text}) -> string:find(Text, "-callback") =:= nomatch end,
    [begin
        File = filename:join([Dir, "src", Room, atom_to_list(Name) ++ ".erl"]),
        ok = filelib:ensure_dir(File),
        ok = file:write_file(File, io_lib:format("-module(~s).\n-compile(export_all).\n~s\n", [Name, Text])),
        {ok, Name} = compile:file(File, [debug_info, {outdir, Dir}])
    end || {Room, Name, Text} <- lists:sort(fun(A, B) -> Behaviours(A) =< Behaviours(B) end, Modules)],
    run(Config).

run(Config) ->
    Script = filename:join([warp_fault_vm:root(), "scripts", "check-rooms"]),
    Escript = filename:join([code:root_dir(), "bin", "escript"]),
    Port = open_port({spawn_executable, Escript},
                     [{args, [Script, "src", "."]}, {cd, ?config(dir, Config)},
                      binary, exit_status, stderr_to_stdout]),
    said(Port, <<>>).

said(Port, Said) ->
    receive
        {Port, {data, More}} -> said(Port, <<Said/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Said}
    end.
