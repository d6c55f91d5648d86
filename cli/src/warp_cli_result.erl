%% @private Prints a result: as JSON in one line for programs, or as people read it.
-module(warp_cli_result).

-export([print/3]).

%% @doc Prints a term that has a form in JSON, or what a function makes of it for people.
-spec print(warp_cli_command:args(), term(), fun((term()) -> unicode:chardata())) -> ok.
print(#{json := true}, Result, _ForPeople) ->
    {ok, Json} = warp_json:encode(Result, 1 bsl 40),
    warp_cli_terminal:print([Json, $\n]);
print(_Args, Result, ForPeople) ->
    warp_cli_terminal:print(ForPeople(Result)).
