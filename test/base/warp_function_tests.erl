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
