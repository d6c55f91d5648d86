%% erl -noinput -pa _build/default/*/*/ebin -s new_project main
-module(new_project).

-export([main/0]).

main() ->
    {ok, _} = application:ensure_all_started(new_project),
    {ok, _} = new_project_account:deposit(<<"alice">>, 5000),
    {ok, Seq} = new_project_account:withdraw(<<"alice">>, 1000),
    {error, {rejected, {missing, _}}} = new_project_account:withdraw(<<"alice">>, 1000000),
    {ok, Balance} = new_project_account:balance(<<"alice">>),
    io:format("alice has ~b after ~b events~n", [Balance, Seq]),
    init:stop().
