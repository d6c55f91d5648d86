%% @private A command of the program: what it is called, what it takes, and what it does. A new command is a module with
%% this behaviour, and one line in the list here.
-module(warp_cli_command).

-export([all/0, find/1, options/1, places/1, name/1]).

-export_type([command/0, option/0, place/0, args/0]).

-type command() :: #{
    %% What it is called by, such as `[<<"sagas">>, <<"retry">>]'.
    words := [binary(), ...],
    %% In a few words, as a sentence without a point.
    about := binary(),
    %% What else one should know.
    text => binary(),
    %% What it takes besides options, in this order. Default: the folder of a context.
    places => [place()],
    %% Whether it opens the context where that is stopped, and so takes `--upgrade'. Default: false.
    opens => boolean(),
    %% Whether it asks before it does something, and so takes `--yes'. Default: false.
    asks => boolean(),
    options => [option()],
    %% What one types; the tests run them, in a folder with a context `data/bank'.
    examples := [binary(), ...],
    run := fun((args()) -> ok)
}.
-type option() :: #{
    %% The key in the arguments; as an option its `_' is a `-'.
    name := atom(),
    %% What stands for the value in the help. Without it the option is one to be given or not.
    value => binary(),
    is => text | positive | file,
    %% It has to be given.
    required => true,
    %% Or that option has to.
    instead => atom(),
    %% It may be given several times: a list.
    many => true,
    about := binary()
}.
-type place() :: #{
    %% The key in the arguments. `dir' can also be given as the variable `WARP_DIR'.
    name := atom(),
    %% What stands for it in the help.
    shown := binary(),
    %% Of a word: which there are.
    is := folder | file | [binary()],
    optional => true
}.
%% The options and the places that were given, by their names, and `json', `yes' and `upgrade' in any case.
-type args() :: #{json := boolean(), yes := boolean(), upgrade := boolean(),
                  atom() => binary() | [binary()] | pos_integer() | boolean()}.

-callback commands() -> [command(), ...].

%% The commands in the order of the help.
-define(MODULES, [warp_cli_inspect, warp_cli_stats, warp_cli_verify, warp_cli_events, warp_cli_export, warp_cli_import,
                  warp_cli_erase, warp_cli_sagas, warp_cli_subscriptions, warp_cli_projections, warp_cli_cluster,
                  warp_cli_backup, warp_cli_backups, warp_cli_restore, warp_cli_keys, warp_cli_completion,
                  warp_cli_version]).

%% @doc All commands.
-spec all() -> [command(), ...].
all() ->
    lists:append([Module:commands() || Module <- ?MODULES]).

%% @doc The command that words begin with, and the other words. `{group, Commands}': there are several that begin with
%% the word.
-spec find([binary()]) -> {ok, command(), [binary()]} | {group, [command(), ...]} | none.
find([]) ->
    none;
find([First | _] = Words) ->
    All = all(),
    case [Command || #{words := Of} = Command <- All, lists:prefix(Of, Words)] of
        [#{words := Of} = Command] ->
            {ok, Command, lists:nthtail(length(Of), Words)};
        [] ->
            case [Command || #{words := [Of | _]} = Command <- All, Of =:= First] of
                [] -> none;
                Group -> {group, Group}
            end
    end.

%% @doc All options of a command, those of every command too.
-spec options(command()) -> [option()].
options(Command) ->
    maps:get(options, Command, [])
        ++ [#{name => upgrade, about => <<"open a stopped folder of an older format too, which brings it to this one">>}
            || maps:get(opens, Command, false)]
        ++ [#{name => yes, about => <<"do it without asking">>} || maps:get(asks, Command, false)]
        ++ [#{name => json, about => <<"print JSON, for programs">>}].

%% @doc What a command takes besides options.
-spec places(command()) -> [place()].
places(Command) ->
    maps:get(places, Command, [#{name => dir, shown => <<"DIR">>, is => folder}]).

%% @doc What one types to call a command.
-spec name(command()) -> iodata().
name(#{words := Words}) ->
    lists:join($\s, Words).
