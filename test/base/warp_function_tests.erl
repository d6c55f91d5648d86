-module(warp_function_tests).

-include_lib("eunit/include/eunit.hrl").

-define(USED, warp_function_used).

an_exported_local_fun_lasts_test() ->
    load(),
    ?assertEqual(fun ?USED:count/2, warp_function:lasting(?USED:local())),
    ?assertNotEqual(fun ?USED:count/2, warp_function:lasting(?USED:closure(1))),
    unload().

%% As funs are that another node sent.
a_fun_of_a_module_that_is_not_loaded_stays_as_it_is_test() ->
    load(),
    Sent = term_to_binary(?USED:local()),
    unload(),
    Fun = binary_to_term(Sent),
    ?assertEqual({name, []}, erlang:fun_info(Fun, name)),
    ?assertEqual(Fun, warp_function:lasting(Fun)).

load() ->
    Forms = [begin
                 {ok, Tokens, _} = erl_scan:string(Line),
                 {ok, Form} = erl_parse:parse_form(Tokens),
                 Form
             end || Line <- ["-module(warp_function_used).", "-export([count/2, local/0, closure/1]).",
                             "count(N, _) -> N + 1.", "local() -> fun count/2.",
                             "closure(By) -> fun(N, _) -> N + By end."]],
    {ok, ?USED, Beam} = compile:forms(Forms, [return_errors]),
    {module, ?USED} = code:load_binary(?USED, "warp_function_used.erl", Beam).

unload() ->
    true = code:delete(?USED),
    code:purge(?USED).

a_crash_has_the_frames_of_the_user_without_arguments_test() ->
    At = fun(Module, Line) -> {Module, apply, [state, #{payload => secret}], [{file, "a.erl"}, {line, Line}]} end,
    Bare = fun(Module, Line) -> {Module, apply, 2, [{file, "a.erl"}, {line, Line}]} end,
    Warps = At(warp_aggregate, 3),
    ?assertEqual({error, badarg, [Bare(bank, 1), Bare(money, 2)]},
                 warp_function:crash(error, badarg, [At(bank, 1), At(money, 2), Warps, At(gen_server, 4)])),
    ?assertEqual({throw, gone, [Bare(warp_weather, 1)]},
                 warp_function:crash(throw, gone, [At(warp_weather, 1), Warps])),
    ?assertEqual({exit, stop, []}, warp_function:crash(exit, stop, [])),
    ?assertEqual({error, undef, [{fun_of_theirs, 1, []}]},
                 warp_function:crash(error, undef, [{fun_of_theirs, [secret], []}, Warps])).
