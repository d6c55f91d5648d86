%% @private `warp completion': what a shell needs to complete commands and options.
-module(warp_cli_completion).
-behaviour(warp_cli_command).

-export([commands/0]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"completion">>],
       about => <<"Print what a shell needs to complete commands and options">>,
       text => <<"bash:  source <(warp completion bash)      in ~/.bashrc\n"
                 "zsh:   source <(warp completion zsh)       in ~/.zshrc, behind compinit\n"
                 "fish:  warp completion fish > ~/.config/fish/completions/warp.fish">>,
       places => [#{name => shell, shown => <<"SHELL">>, is => [<<"bash">>, <<"zsh">>, <<"fish">>]}],
       examples => [<<"warp completion bash > warp.bash">>],
       run => fun(#{shell := Shell}) -> warp_cli_terminal:print(script(Shell)) end}].

script(<<"bash">>) -> bash();
script(<<"zsh">>) -> ["autoload -U +X bashcompinit && bashcompinit\n", bash()];
script(<<"fish">>) -> fish().

%% What a prefix of the words of commands goes on with; and of whole commands, what they take.
prefixes() ->
    Words = [Of || #{words := Of} <- warp_cli_command:all()],
    [{Prefix, lists:uniq([hd(lists:nthtail(length(Prefix), Of)) || Of <- Words, lists:prefix(Prefix, Of),
                                                                    length(Of) > length(Prefix)])}
     || Prefix <- lists:usort([[] | [lists:droplast(Of) || Of <- Words]])].

options(Command) ->
    [["--", string:replace(atom_to_list(Name), "_", "-", all)]
     || #{name := Name} <- warp_cli_command:options(Command) ++ [#{name => help}]].

bash() ->
    Commands = warp_cli_command:all(),
    Known = [Of || {Prefix, Next} <- prefixes(), Of <- [Prefix ++ [Word] || Word <- Next]],
    ["_warp() {\n"
     "    local current=${COMP_WORDS[COMP_CWORD]} command='' word i\n"
     "    COMPREPLY=()\n"
     "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
     "        word=${COMP_WORDS[i]}\n"
     "        case \"${command:+$command }$word\" in\n"
     "            ", lists:join(" | ", [quoted(Of) || Of <- Known]),
     ") command=\"${command:+$command }$word\" ;;\n"
     "        esac\n"
     "    done\n"
     "    case \"$command\" in\n",
     [["        ", quoted(Prefix), ") COMPREPLY=($(compgen -W \"",
       lists:join($\s, Next ++ [<<"--help">> || Prefix =:= []]),
       "\" -- \"$current\")) ;;\n"] || {Prefix, Next} <- prefixes()],
     [["        ", quoted(Of), ")\n"
       "            case \"$current\" in\n"
       "                -*) COMPREPLY=($(compgen -W \"", lists:join($\s, options(Command)), "\" -- \"$current\")) ;;\n",
       [["                *) COMPREPLY=($(compgen ", others(Kind), " -- \"$current\")) ;;\n"]
        || Kind <- kinds(Command)],
       "            esac ;;\n"] || #{words := Of} = Command <- Commands],
     "    esac\n"
     "}\n"
     "complete -o filenames -F _warp warp\n"].

quoted(Words) -> [$', lists:join($\s, Words), $'].

%% What a command takes, as a place or as the value of an option: files, folders or certain words, at most one of these.
kinds(Command) ->
    case {[Is || #{is := Is} <- warp_cli_command:places(Command)],
          [file || #{is := file} <- warp_cli_command:options(Command)]} of
        {[], _} -> [];
        {[Is | _], []} -> [Is];
        {_, _} -> [file]
    end.

others(file) -> "-f";
others(folder) -> "-d";
others(Words) -> ["-W \"", lists:join($\s, Words), $"].

fish() ->
    ["complete -c warp -f\n",
     [["complete -c warp -n __fish_use_subcommand -a ", Word, "\n"] || {[], Next} <- prefixes(), Word <- Next],
     [["complete -c warp -n '__fish_seen_subcommand_from ", First, "; and not __fish_seen_subcommand_from ",
       lists:join($\s, Next), "' -a '", lists:join($\s, Next), "'\n"] || {[First], Next} <- prefixes()],
     [fish(Command) || Command <- warp_cli_command:all()]].

fish(#{words := Words, about := About} = Command) ->
    Seen = ["-n '", lists:join("; and ", [["__fish_seen_subcommand_from ", Word] || Word <- Words]), "'"],
    [["# ", About, "\n"],
     [["complete -c warp ", Seen, " -l ", string:replace(atom_to_list(Name), "_", "-", all),
       case Option of #{is := file} -> " -r -F"; #{value := _} -> " -x"; _ -> "" end,
       " -d '", string:replace(Text, "'", "\\'", all), "'\n"]
      || #{name := Name, about := Text} = Option <- warp_cli_command:options(Command)],
     case warp_cli_command:places(Command) of
         [#{is := folder} | _] -> ["complete -c warp ", Seen, " -a '(__fish_complete_directories)'\n"];
         [#{is := file} | _] -> ["complete -c warp ", Seen, " -F\n"];
         [#{is := Known} | _] -> ["complete -c warp ", Seen, " -a '", lists:join($\s, Known), "'\n"];
         [] -> []
     end].
