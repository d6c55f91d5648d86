%% @private The texts of `--help'. Pure.
-module(warp_cli_help).

-export([all/0, of_command/1, called_as/1]).

%% @doc All commands.
-spec all() -> iodata().
all() ->
    Commands = warp_cli_command:all(),
    Width = lists:max([iolist_size(warp_cli_command:name(Of)) || Of <- Commands]),
    ["Works with contexts of the database Warp: those that run, through their VMs, those that are stopped, and backups."
     "\n\nUsage: warp COMMAND [DIR] [OPTION...]\n\n"
     "DIR is the folder of a context, DATA_DIR/CONTEXT. Without it the variable WARP_DIR says where that is.\n"
     "TARGET is the folder of a backup, or s3://BUCKET/PREFIX, behind which ?endpoint=...&region=... can stand; the\n"
     "keys to a bucket are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the VM that uses it.\n\n"
     "Commands:\n",
     [["  ", string:pad(iolist_to_binary(warp_cli_command:name(Of)), Width + 2), About, $\n]
      || #{about := About} = Of <- Commands],
     "\n`warp COMMAND --help' says what a command takes, with examples.\n\n", statuses()].

statuses() ->
    "Status: 0, all is well; 1, the answer is a bad one, such as damage; 2, the command was called in a wrong way, or\n"
    "not confirmed; 3, the context or the backup could not be reached or opened.\n".

%% @doc How a command is called: what it needs, and that it has options.
-spec called_as(warp_cli_command:command()) -> iodata().
called_as(Command) ->
    ["warp ", warp_cli_command:name(Command),
     [[$\s, place(Of)] || Of <- warp_cli_command:places(Command)],
     [[$\s, option(Of)] || #{required := true} = Of <- warp_cli_command:options(Command)], " [OPTION...]"].

%% @doc One command.
-spec of_command(warp_cli_command:command()) -> iodata().
of_command(#{about := About, examples := Examples} = Command) ->
    Options = warp_cli_command:options(Command),
    Shown = [{option(Of), Text} || #{about := Text} = Of <- Options],
    Width = lists:max([iolist_size(Of) || {Of, _} <- Shown]),
    [About, ".\n\nUsage: ", called_as(Command), $\n,
     [[$\n, Text, $\n] || #{text := Text} <- [Command]],
     "\nOptions:\n",
     [["  ", string:pad(iolist_to_binary(Of), Width + 2), Text, $\n] || {Of, Text} <- Shown],
     "\nExamples:\n",
     [["  ", Example, $\n] || Example <- Examples],
     $\n, statuses()].

place(#{shown := Shown, optional := true}) -> [$[, Shown, $]];
place(#{shown := Shown}) -> Shown.

option(#{name := Name} = Option) ->
    ["--", string:replace(atom_to_list(Name), "_", "-", all),
     case Option of #{value := Value} -> [$\s, Value]; #{} -> [] end].
