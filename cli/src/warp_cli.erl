%% @private The program `warp', which `bin/warp' starts in a VM of its own.
-module(warp_cli).

-export([main/0]).

%% @doc Carries out what the arguments of the program say, and ends the VM. Its status: 0, all is well; 1, the answer is
%% a bad one, such as damage; 2, the program was called in a wrong way; 3, the context or the backup could not be
%% reached or opened.
-spec main() -> no_return().
main() ->
    ok = warp_cli_terminal:prepare(),
    Status =
        try
            warp_cli_fail:with_status(fun() -> run([text(Arg) || Arg <- init:get_plain_arguments()]) end)
        catch
            throw:output_closed -> 0;
            Class:Reason:Stack -> warp_cli_fail:bug(Class, Reason, Stack)
        end,
    halt(Status, [{flush, true}]).

text(Arg) ->
    case unicode:characters_to_binary(Arg) of
        Text when is_binary(Text) -> Text;
        _ -> warp_cli_fail:usage("An argument is no text in UTF-8.")
    end.

run(Given) ->
    case warp_cli_args:parse(Given) of
        {help, Command} -> warp_cli_terminal:print(warp_cli_help:of_command(Command));
        help -> warp_cli_terminal:print(warp_cli_help:all());
        {run, #{run := Run}, Args} -> Run(Args)
    end.
