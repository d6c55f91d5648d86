%% @private How the program ends when something is wrong: with a status, and a message that says what to do. A command
%% calls one of these functions, and nothing behind it runs.
-module(warp_cli_fail).

-export([with_status/1, usage/1, usage/2, unreachable/2, unreachable/3, answer/1, said/1, bad/0, bug/3]).

-type message() :: #{reason := binary(), meaning := binary(), to_do := binary()}.

%% Reasons that say nothing of the context or the backup but that it cannot be worked with.
-define(UNREACHABLE, [<<"data_dir_in_use">>, <<"context_stopped">>, <<"interrupted">>, <<"timeout">>, <<"overloaded">>,
                      <<"shard_unavailable">>, <<"node_unavailable">>, <<"bad_request">>, <<"internal">>,
                      <<"not_clustered">>, <<"no_projections">>, <<"newer_format">>, <<"not_a_shard">>,
                      <<"io_error">>, <<"unreachable">>, <<"no_backup">>, <<"no_master_key">>,
                      <<"wrong_master_key">>, <<"master_key_refused">>, <<"storage_refused">>,
                      <<"no_store_program">>]).

%% @doc Calls a function, and gives the status that the program ends with.
-spec with_status(fun(() -> term())) -> 0..3.
with_status(Run) ->
    try
        _ = Run(),
        ok = warp_cli_terminal:flush(),
        ok = warp_cli_terminal:clear_progress(),
        0
    catch
        throw:{fail, Status, none} ->
            ok = warp_cli_terminal:flush(),
            Status;
        throw:{fail, Status, Message} ->
            ok = warp_cli_terminal:flush(),
            ok = warp_cli_terminal:fail(Message),
            Status
    end.

%% @doc The program was called in a wrong way.
-spec usage(iodata()) -> no_return().
usage(Text) ->
    usage(Text, <<"`warp --help' lists the commands, and `warp COMMAND --help' says what each takes.">>).

%% @doc Likewise, with what to do instead.
-spec usage(iodata(), iodata()) -> no_return().
usage(Text, ToDo) ->
    throw({fail, 2, message(<<"usage">>, Text, ToDo)}).

%% @doc The context or the backup cannot be reached or opened.
-spec unreachable(Meaning :: iodata(), ToDo :: iodata()) -> no_return().
unreachable(Meaning, ToDo) ->
    unreachable(<<"unreachable">>, Meaning, ToDo).

%% @doc Likewise, with a name for programs.
-spec unreachable(Reason :: binary(), Meaning :: iodata(), ToDo :: iodata()) -> no_return().
unreachable(Reason, Meaning, ToDo) ->
    throw({fail, 3, message(Reason, Meaning, ToDo)}).

%% @doc A reason of an error that Warp gave in this VM.
-spec answer(Reason :: term()) -> no_return().
answer(Reason) ->
    case warp_error:describe(Reason) of
        {ok, #{reason := Name, meaning := Meaning, to_do := ToDo}} ->
            said(message(atom_to_binary(Name), Meaning, ToDo));
        unknown ->
            said(message(<<"other">>, warp_error:format_error(Reason), <<>>))
    end.

%% @doc An error that a running VM told.
-spec said(#{binary() | atom() => binary()}) -> no_return().
said(#{<<"reason">> := Reason, <<"meaning">> := Meaning, <<"to_do">> := ToDo}) ->
    said(message(Reason, Meaning, ToDo));
said(#{reason := Reason} = Message) ->
    throw({fail, case lists:member(Reason, ?UNREACHABLE) of true -> 3; false -> 1 end, Message}).

%% @doc The answer is a bad one, and was shown.
-spec bad() -> no_return().
bad() ->
    throw({fail, 1, none}).

%% @doc A bug of the program. Nobody sees a term that may hold what a user stored.
-spec bug(atom(), term(), list()) -> 3.
bug(Class, Reason, Stack) ->
    Where = [io_lib:format("~ts:~ts/~b", [M, F, case A of _ when is_list(A) -> length(A); _ -> A end])
             || {M, F, A, _} <- lists:sublist(Stack, 3)],
    Kind = case Reason of
        {Name, _} when is_atom(Name) -> Name;
        _ when is_atom(Reason) -> Reason;
        _ -> other
    end,
    ok = warp_cli_terminal:fail(message(<<"internal">>,
        io_lib:format("A bug of this program: ~ts ~ts in ~ts.", [Class, Kind, lists:join(", ", Where)]),
        <<"Please report it with the command that you gave.">>)),
    3.

-spec message(binary(), iodata(), iodata()) -> message().
message(Reason, Meaning, ToDo) ->
    #{reason => Reason, meaning => unicode:characters_to_binary(Meaning), to_do => unicode:characters_to_binary(ToDo)}.
