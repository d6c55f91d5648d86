%% @private What the commands for backups take: where a backup is, where its keys are, and where the master key is.
-module(warp_cli_target).

-export([place/0, options/0, key_options/2, path/1, target/1, keys/2, master/2, in_json/1, result/1, result/2,
         progress/1]).

-type master() :: {file, binary()} | {env, string()}.

%% @doc The place of a backup.
-spec place() -> warp_cli_command:place().
place() -> #{name => target, shown => <<"TARGET">>, is => folder}.

%% @doc The options of commands that read a backup.
-spec options() -> [warp_cli_command:option()].
options() ->
    [#{name => keys_from, value => <<"TARGET">>,
       about => <<"the folder or bucket of the backup's key pages, if that is another one">>}].

%% @doc The options that say where a master key is, the file of which has this name.
-spec key_options(master_key | new_master_key, required | optional) -> [warp_cli_command:option()].
key_options(Name, Required) ->
    {Env, Which} = names(Name),
    File = #{name => Name, value => <<"FILE">>, is => file,
             about => <<"the file of the ", Which/binary, ": 64 hexadecimal digits">>},
    [case Required of required -> File#{required => true, instead => Env}; optional -> File end,
     #{name => Env, value => <<"NAME">>,
       about => <<"or the variable of the environment that has the ", Which/binary>>}].

names(master_key) -> {master_key_env, <<"master key">>};
names(new_master_key) -> {new_master_key_env, <<"new master key">>}.

%% @doc A path as another program, in another folder, understands it.
-spec path(binary()) -> binary().
path(Given) -> filename:absname(Given).

%% @doc A target as another program, in another folder, understands it.
-spec target(binary()) -> binary().
target(<<"s3://", _/binary>> = Bucket) -> Bucket;
target(Folder) -> path(Folder).

%% @doc The place of the key pages under this name, if it was given.
-spec keys(keys_to | keys_from, warp_cli_command:args()) -> #{keys_to | keys_from => binary()}.
keys(Name, Args) -> maps:map(fun(_, Given) -> target(Given) end, maps:with([Name], Args)).

%% @doc Where the master key is, if that was given.
-spec master(master_key | new_master_key, warp_cli_command:args()) ->
    #{master_key | new_master_key => master()}.
master(Name, Args) ->
    {Env, Which} = names(Name),
    case Args of
        #{Name := _, Env := _} ->
            warp_cli_fail:usage(["The ", Which, " is either in a file or in a variable."]);
        #{Name := File} ->
            #{Name => {file, path(File)}};
        #{Env := Variable} ->
            _ = [warp_cli_fail:usage([Variable, " is no name of a variable."])
                 || re:run(Variable, "^[A-Za-z_][A-Za-z0-9_]*$") =:= nomatch],
            #{Name => {env, binary_to_list(Variable)}};
        #{} ->
            #{}
    end.

%% @doc Where a master key is, for another VM that reads it there.
-spec in_json(master()) -> #{file | env => binary()}.
in_json({file, Path}) -> #{file => Path};
in_json({env, Name}) -> #{env => list_to_binary(Name)}.

%% @doc What a function of `warp_backup' gives. Ends the program where that is an error.
-spec result(ok | {ok, Value} | {error, term()}) -> ok | Value.
result(Result) ->
    ok = warp_cli_terminal:clear_progress(),
    case Result of
        ok -> ok;
        {ok, Value} -> Value;
        {error, Why} -> warp_cli_fail:answer(Why)
    end.

%% @doc Likewise, of a function that reads the backup at a place.
-spec result(Target :: binary(), ok | {ok, Value} | {error, term()}) -> ok | Value.
result(Target, {error, no_backup}) ->
    {ok, #{to_do := ToDo}} = warp_error:describe(no_backup),
    ok = warp_cli_terminal:clear_progress(),
    warp_cli_fail:unreachable(<<"no_backup">>, ["There is no backup at ", target(Target), "."], ToDo);
result(Target, {error, {no_such_cut, _} = Why}) ->
    {ok, #{meaning := Meaning}} = warp_error:describe(Why),
    ok = warp_cli_terminal:clear_progress(),
    warp_cli_fail:said(#{reason => <<"no_such_cut">>, meaning => Meaning,
                         to_do => <<"`warp backup list ", Target/binary, "' shows those that it has.">>});
result(_Target, Result) ->
    result(Result).

%% @doc Shows how far the reading of a backup is.
-spec progress(#{done := non_neg_integer(), 'of' := non_neg_integer(), events := non_neg_integer()}) -> ok.
progress(#{done := Done, 'of' := Of, events := Events}) ->
    warp_cli_terminal:progress([warp_cli_units:count(Done), " of ", warp_cli_units:many(Of, "segment"),
                                [[", ", warp_cli_units:many(Events, "event")] || Events > 0]]).
