%% @private Backups that a client of the control socket asks for. A master key does not come over the socket: the client
%% says where it is, and this VM reads it there.
-module(warp_control_backups).

-export([run/3, start/3, merge/3]).

-type tell() :: fun((iodata()) -> ok).

%% @doc Backs a context up once. The arguments are `to', `keys_to', `keep' as `{"cuts": N, "age": MILLISECONDS}', and
%% `master_key' as `{"file": PATH}' or `{"env": NAME}'. Errors: those of `warp_backup:run/2'.
-spec run(warp_core:ctx(), Args :: map(), tell()) -> {ok, map()} | {error, term()}.
run(Ctx, Args, Tell) ->
    followed(fun(Progress) -> warp_backup:run(Ctx, (options(Args))#{progress => Progress}) end, Tell).

%% @doc Begins to back a context up every so many milliseconds, with `every' as an argument too, and waits for the first
%% run. Errors: those of `warp_backup:start/2'.
-spec start(warp_core:ctx(), Args :: map(), tell()) -> {ok, map()} | {error, term()}.
start(Ctx, #{<<"every">> := Every} = Args, Tell) ->
    Options = (options(Args))#{every => Every},
    followed(fun(Progress) -> warp_backup:start(Ctx, Options#{progress => Progress}) end, Tell).

%% @doc Backs a context up once, and merges all old segments that can be merged. Arguments as above, with `keep'.
%% Errors: those of `warp_backup:merge/2'.
-spec merge(warp_core:ctx(), Args :: map(), tell()) -> {ok, map()} | {error, term()}.
merge(Ctx, Args, Tell) ->
    followed(fun(Progress) -> warp_backup:merge(Ctx, (options(Args))#{progress => Progress}) end, Tell).

options(#{<<"to">> := To, <<"master_key">> := Key} = Args) ->
    More = [{keys_to, Keys} || #{<<"keys_to">> := Keys} <- [Args]] ++
        [{keep, keep(Keep)} || #{<<"keep">> := Keep} <- [Args]],
    maps:from_list([{to, To}, {master_key, master(Key)} | More]).

keep(#{} = Keep) ->
    maps:from_list([case Key of <<"cuts">> -> {cuts, N}; <<"age">> -> {age, N}; _ -> {Key, N} end
                    || {Key, N} <- maps:to_list(Keep)]);
keep(Other) ->
    Other.

master(#{<<"file">> := File}) -> {file, File};
master(#{<<"env">> := Name}) when is_binary(Name) -> {env, unicode:characters_to_list(Name)};
master(Other) -> Other.

%% NOTE: a run is made by a process of the context, and a client that takes nothing must not hold it up. So that process
%% sends its progress, and this one tells it.
followed(Make, Tell) ->
    Self = self(),
    Tag = make_ref(),
    _ = spawn_link(fun() ->
        Made = try
            Make(fun(Report) -> Self ! {Tag, progress, Report} end)
        catch
            Class:Reason:Stack -> {raised, Class, Reason, Stack}
        end,
        Self ! {Tag, made, Made}
    end),
    told(Tag, Tell).

told(Tag, Tell) ->
    receive
        {Tag, progress, Report} ->
            ok = Tell(warp_control_json:progress(shown(newest(Tag, Report)))),
            told(Tag, Tell);
        {Tag, made, {raised, Class, Reason, Stack}} ->
            erlang:raise(Class, Reason, Stack);
        {Tag, made, Result} ->
            Result
    end.

newest(Tag, Report) ->
    receive
        {Tag, progress, Newer} -> newest(Tag, Newer)
    after 0 ->
        Report
    end.

shown(#{segments := 0, key_pages := Pages}) -> #{part => <<"pages of keys">>, done => Pages};
shown(#{events := Events}) -> #{part => events, done => Events}.
