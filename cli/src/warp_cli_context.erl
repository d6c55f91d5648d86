%% @private Reaches a context: through the VM that has it open, or, where it is stopped and that is safe, by opening it
%% in this VM. Either way a request gives the same lines.
-module(warp_cli_context).

-export([with/3, own/3, ask/2, progress/1]).

-export_type([stopped/0, ask/0]).

%% What to do with a context that is stopped: open it here; or nothing, since only a running one has what is asked for.
%% Or call this function with its folder.
-type stopped() :: open | refuse | fun((Dir :: binary()) -> term()).
%% Makes a request, calls a function with each item of the answer as JSON, and gives the answer. Ends the program where
%% it is an error.
-type ask() :: fun((Request :: map(), fun((Json :: binary()) -> term())) -> Answer :: map()).

%% How long another VM, which has the folder open, may take until it has its socket.
-define(PATIENCE_MS, 3000).
-define(LOOK_MS, 100).

%% @doc Calls a function that asks a context. It gets what the VM says of itself: `context', `warp', `os_pid', `node',
%% and `opened' if the context was opened here.
-spec with(warp_cli_command:args(), stopped(), fun((ask(), Hello :: map()) -> Result)) -> Result.
with(#{dir := Given} = Args, Stopped, Use) ->
    Dir = warp_cli_folder:context(Given),
    case hello(Dir) of
        {running, Hello} -> Use(running(Dir), Hello);
        stopped when Stopped =:= open -> opened(Dir, Args, Use);
        stopped when Stopped =:= refuse ->
            warp_cli_fail:unreachable(
                <<"not_running">>,
                ["No VM has the context in ", Dir, " open, and only one that runs can say or do that."],
                "Start the program that the context belongs to, and give the command again.");
        stopped -> Stopped(Dir)
    end.

%% @doc Opens a context that nobody but this program has, such as one that it has just restored.
-spec own(Dir :: binary(), Shards :: pos_integer(), fun((ask()) -> Result)) -> Result.
own(Dir, Shards, Use) ->
    start(Dir, Shards, fun() -> ok end, fun(Ask, _Hello) -> Use(Ask) end).

%% @doc A request without items.
-spec ask(ask(), map()) -> map().
ask(Ask, Request) ->
    Ask(Request, fun(_) -> ok end).

hello(Dir) ->
    Self = make_ref(),
    Keep = fun(Line) -> put(Self, Line) end,
    case warp_control:call(Dir, #{op => hello}, Keep) of
        ok ->
            case warp_json:decode(erase(Self)) of
                {ok, #{<<"ok">> := Hello}} -> {running, Hello};
                {ok, #{<<"error">> := Error}} -> warp_cli_fail:said(Error)
            end;
        {error, no_socket} -> stopped;
        {error, Why} -> lost(Dir, Why)
    end.

-spec lost(Dir :: binary(), Why :: term()) -> no_return().
lost(Dir, no_answer) ->
    warp_cli_fail:unreachable(["The VM that has the context in ", Dir, " open says nothing."],
                              "See whether it is stopped by a signal or busy, and whether its disk answers.");
lost(Dir, closed) ->
    warp_cli_fail:unreachable(["The VM that had the context in ", Dir, " open stopped it, or ended, before the end of "
                               "its answer."],
                              "Give the command again. What it asked for may be done or not.");
lost(Dir, no_socket) ->
    lost(Dir, closed);
lost(Dir, {cannot_connect, Why}) when Why =:= eacces; Why =:= eperm ->
    warp_cli_fail:unreachable(["The socket ", filename:join(Dir, "ctl"), " is another user's."],
                              "Run this as the user that the VM runs as, such as with sudo -u USER.");
lost(Dir, {cannot_connect, Why}) ->
    warp_cli_fail:unreachable(["The socket ", filename:join(Dir, "ctl"), " cannot be used: ", inet:format_error(Why),
                               "."], "See whether the folder and a folder for temporary files can be written to.").

%% ------------------------------------------------------------------ A context of another VM

running(Dir) ->
    fun(Request, OnItem) ->
        Lines = lines(OnItem),
        case warp_control:call(Dir, Request, Lines) of
            ok -> answer();
            {error, Why} -> lost(Dir, Why)
        end
    end.

%% Keeps the last line.
lines(OnItem) ->
    fun(<<"{\"item\":", Rest/binary>>) -> OnItem(binary:part(Rest, 0, byte_size(Rest) - 1));
       (<<"{\"progress\":", _/binary>> = Line) ->
            {ok, #{<<"progress">> := Progress}} = warp_json:decode(Line),
            warp_cli_terminal:progress(progress(Progress));
       (Line) -> put(?MODULE, Line)
    end.

answer() ->
    ok = warp_cli_terminal:clear_progress(),
    case warp_json:decode(erase(?MODULE)) of
        {ok, #{<<"ok">> := Answer}} -> Answer;
        {ok, #{<<"error">> := Error}} -> warp_cli_fail:said(Error)
    end.

%% @doc How far a request is, as people read it.
-spec progress(map()) -> iodata().
progress(#{<<"part">> := <<"shards">>, <<"left">> := Left}) ->
    [warp_cli_units:many(Left, "shard"), " left"];
progress(#{<<"shard">> := N, <<"shards">> := Shards, <<"part">> := Part, <<"done">> := Done, <<"total">> := Total}) ->
    io_lib:format("shard ~b of ~b, ~ts: ~b %", [N + 1, Shards, Part, Done * 100 div max(1, Total)]);
progress(#{<<"part">> := <<"journal">>}) ->
    "the journal";
progress(#{<<"part">> := Part, <<"done">> := Done, <<"total">> := Total}) when Total > 0 ->
    [warp_cli_units:count(Done), " of ", warp_cli_units:count(Total), $\s, Part];
progress(#{<<"part">> := Part, <<"done">> := Done}) ->
    [warp_cli_units:count(Done), $\s, Part];
progress(_) ->
    "at work".

%% ------------------------------------------------------------------ A context that is stopped

opened(Dir, Args, Use) ->
    case warp_cli_folder:foreign_owner(Dir) of
        {yes, Uid} ->
            warp_cli_fail:unreachable(
                <<"foreign_folder">>,
                ["The folder ", Dir, " is that of the user with the number ", integer_to_list(Uid),
                 ", who could not open files that this command may make."],
                "Run this as that user, such as with sudo -u USER.");
        no -> ok
    end,
    Formats = maps:values(warp_cli_folder:formats(Dir)),
    Older = [Format || Format <- Formats, is_integer(Format), Format < warp_cli_folder:newest()],
    case {Older, Args} of
        {[Format | _], #{upgrade := false}} ->
            warp_cli_fail:unreachable(
                <<"older_format">>,
                io_lib:format("The folder ~ts has format ~b. Opening it brings it to format ~b, and an older version "
                              "of Warp cannot open it afterwards.", [Dir, Format, warp_cli_folder:newest()]),
                "Give --upgrade if that is what you want. `warp verify' reads it as it is.");
        _ ->
            Say = fun() ->
                warp_cli_terminal:note("No VM has the context open, so this command opens it meanwhile: without "
                                       "aggregates, so that sagas wait.")
            end,
            start(Dir, max(1, length(Formats)), Say, Use)
    end.

start(Dir, Shards, Say, Use) ->
    %% Sagas wait, no state is folded, nothing is projected, and no log of a saga is removed.
    Options = #{context => filename:basename(Dir), data_dir => filename:dirname(Dir), shards => Shards,
                aggregates => [#{name => <<"warp command line">>, initial_state => null}],
                mode => read_through, keep_sagas => infinity},
    case started(Options, erlang:monotonic_time(millisecond) + ?PATIENCE_MS) of
        {ok, Ctx} ->
            ok = Say(),
            try
                Ask = here(Ctx),
                Hello = ask(Ask, #{op => hello}),
                Use(Ask, Hello#{opened => true})
            after
                ok = warp_core:stop(Ctx)
            end;
        {running, Hello} -> Use(running(Dir), Hello);
        {error, {data_dir_in_use, _}} ->
            warp_cli_fail:unreachable(
                <<"data_dir_in_use">>,
                ["A VM has the context in ", Dir, " open, and does not answer at the file ctl there."],
                "It runs an older version of Warp, or could not make that file: see its log.");
        {error, Why} -> warp_cli_fail:answer(Why)
    end.

%% NOTE: a VM that is just starting has the folder before it has its socket.
started(#{data_dir := DataDir, context := Name} = Options, Deadline) ->
    case warp_core:start(Options) of
        {error, {shard_count_mismatch, Stored, Given}} when Stored =/= Given ->
            started(Options#{shards => Stored}, Deadline);
        {error, {was_projected, _}} when not is_map_key(projections, Options) ->
            started(Options#{projections => untouched}, Deadline);
        {error, {data_dir_in_use, _}} = InUse ->
            case {hello(filename:join(DataDir, Name)), erlang:monotonic_time(millisecond) < Deadline} of
                {{running, Hello}, _} -> {running, Hello};
                {stopped, true} ->
                    timer:sleep(?LOOK_MS),
                    started(Options, Deadline);
                {stopped, false} -> InUse
            end;
        Result -> Result
    end.

here(Ctx) ->
    fun(Request, OnItem) ->
        Lines = lines(OnItem),
        {ok, Json} = warp_json:encode(Request, 1 bsl 20),
        Tell = fun(Several) ->
            lists:foreach(Lines, binary:split(iolist_to_binary(Several), <<"\n">>, [global]))
        end,
        ok = Tell(warp_control:run(Ctx, Json, Tell)),
        answer()
    end.
