%% @private Keeps the backups of a context up to date: makes a run every so often, and one at once when an entity was
%% deleted, so that its key goes from the target. A process of its own makes a run, one at a time for each target.
-module(warp_backup_server).
-behaviour(gen_server).

-export([new/0, start_link/1, start/3, stop/2, forget/2, run/3, erased/2, stats/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% The pause after a run that failed, unless runs are more frequent.
-define(RETRY_MS, 5000).
%% The file, beside the shards, with the addresses of the targets that were ever backed up to.
-define(REMEMBERED, "backups").

-type plan() :: #{target := warp_backup_target:target(), keys := warp_backup_target:target() | none,
                  master := warp_backup_master:master(), every := pos_integer() | once,
                  progress := fun((warp_backup_run:report()) -> term())}.

-record(backup, {
    %% None: an earlier start of the context has backed up to it, and this one not yet.
    plan = none :: none | plan(),
    %% The run under way, and who waits for it; and who waits for the one behind it.
    runs = none :: none | {pid(), [gen_server:from()]},
    next = [] :: [gen_server:from()],
    timer = none :: none | reference(),
    %% Whether anything may be stored there.
    used = false :: boolean(),
    %% When the last cut was made, and why the last run failed, if it did.
    last = none :: none | warp_backup_run:report(),
    failing = none :: none | {Why :: term(), Since :: warp_core:micros()}
}).

-record(state, {
    context :: warp_context:context(),
    %% By the address of the target.
    backups = #{} :: #{binary() => #backup{}}
}).

%% @doc The table of what is known of each target: {To, plan() | none, About}. It outlives the process.
-spec new() -> ets:table().
new() -> ets:new(warp_backups, [public, set]).

%% @doc Starts the process of a context.
-spec start_link(warp_context:ref()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% @doc Begins to back up to a target again and again, or changes how. Waits for the first run, and gives its report.
%% After an error nothing has begun.
-spec start(warp_context:context(), plan(), timeout()) -> {ok, warp_backup_run:report()} | {error, term()}.
start(Context, Plan, Timeout) -> ask(Context, {start, Plan}, Timeout).

%% @doc Makes one run, or waits for one that has begun after this call.
-spec run(warp_context:context(), plan(), timeout()) -> {ok, warp_backup_run:report()} | {error, term()}.
run(Context, Plan, Timeout) -> ask(Context, {run, Plan}, Timeout).

%% @doc Ends the backups to a target; a run that is under way ends first. `not_started': there are none.
-spec stop(warp_context:context(), warp_backup_target:target()) -> ok | {error, not_started | term()}.
stop(Context, Target) -> ask(Context, {stop, warp_backup_target:describe(Target)}, infinity).

%% @doc Says that a target is gone, and with it what it had: deletions do not wait for it any more.
-spec forget(warp_context:context(), warp_backup_target:target()) -> ok | {error, term()}.
forget(Context, Target) -> ask(Context, {forget, warp_backup_target:describe(Target)}, infinity).

%% @doc Waits until all that was erased up to now is dead data in all targets that this context backs up to: what these
%% are. Error: the first of them that this is not known of, and why.
-spec erased(warp_context:context(), warp_deadline:deadline()) ->
    {ok, [#{to := binary(), cut := non_neg_integer()}]} | {error, {To :: binary(), Why :: term()}}.
erased(#{backups := Table} = Context, Deadline) ->
    case {lists:sort([To || {To, _, _} <- ets:tab2list(Table)]), warp_context:registered(Context, backup)} of
        {[], _} -> {ok, []};
        {Targets, {ok, Pid}} -> erased(Targets, Pid, Deadline, []);
        {[To | _], none} -> {error, {To, interrupted}}
    end.

erased([], _Pid, _Deadline, Done) ->
    {ok, lists:reverse(Done)};
erased([To | Rest], Pid, Deadline, Done) ->
    case warp_call:call(Pid, {erased, To}, Deadline) of
        {ok, #{cut := Cut}} -> erased(Rest, Pid, Deadline, [#{to => To, cut => Cut} | Done]);
        {error, Why} -> {error, {To, Why}}
    end.

ask(Context, Request, Timeout) ->
    case warp_context:registered(Context, backup) of
        {ok, Pid} -> warp_call:call(Pid, Request, warp_deadline:from(Timeout));
        none -> {error, interrupted}
    end.

%% @doc What is known of each target.
-spec stats(warp_context:context()) -> #{backups := [map()]}.
stats(#{backups := Table}) ->
    #{backups => [About || {_, _, About} <- lists:sort(ets:tab2list(Table))]}.

-spec init(warp_context:ref()) -> {ok, #state{}} | {stop, {shutdown, context_stopped}}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    case warp_context:find(Ref) of
        {ok, Context} ->
            ok = warp_context:register(Context, backup, self()),
            {ok, resumed(Context)};
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

%% What this process did before it crashed goes on; and a target that an earlier start of the context has backed up to
%% may hold what is deleted from now on.
resumed(#{backups := Table} = Context) ->
    Known = [{To, Plan} || {To, Plan, _} <- ets:tab2list(Table)],
    Old = [{To, none} || To <- remembered(Context), not lists:keymember(To, 1, Known)],
    lists:foldl(
        fun({To, none}, State) -> kept(To, #backup{used = true}, State);
           ({To, Plan}, State) -> next(To, #backup{plan = Plan, used = true}, State)
        end,
        #state{context = Context}, Known ++ Old).

remembered(Context) ->
    %% NOTE: not by the VM's own threads for files, which can all be taken: no restart may depend on one.
    case warp_nif:get_file(path(Context)) of
        {ok, Text} -> [uri_string:unquote(Line) || Line <- binary:split(Text, <<"\n">>, [global, trim_all])];
        none -> [];
        {error, _} -> []
    end.

remember(#{file_access := Access} = Context, Targets) ->
    Lines = [[uri_string:quote(To, "/"), "\n"] || To <- lists:sort(Targets)],
    warp_nif:put_file(path(Context), iolist_to_binary(Lines), Access, replace).

path(#{dir := Dir}) -> filename:join(Dir, ?REMEMBERED).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({start, Plan}, From, State) ->
    {noreply, asked(Plan, From, State)};
handle_call({run, #{target := Target} = Plan}, From, #state{backups = Backups} = State) ->
    %% It goes on as often as before.
    Every = case maps:get(warp_backup_target:describe(Target), Backups, none) of
        #backup{plan = #{every := Of}} -> Of;
        _ -> once
    end,
    {noreply, asked(Plan#{every => Every}, From, State)};
handle_call({stop, To}, _From, #state{backups = Backups} = State) ->
    case Backups of
        #{To := #backup{plan = #{}, timer = Timer} = Backup} ->
            ok = cancel(Timer),
            Stopped = Backup#backup{timer = none, plan = (Backup#backup.plan)#{every => once}},
            {reply, ok, kept(To, Stopped, State)};
        #{} ->
            {reply, {error, not_started}, State}
    end;
handle_call({forget, To}, _From, #state{context = #{backups := Table} = Context, backups = Backups} = State) ->
    case Backups of
        #{To := #backup{runs = none, timer = Timer}} ->
            case remember(Context, maps:keys(Backups) -- [To]) of
                ok ->
                    ok = cancel(Timer),
                    true = ets:delete(Table, To),
                    {reply, ok, State#state{backups = maps:remove(To, Backups)}};
                {error, _} = Error ->
                    {reply, Error, State}
            end;
        #{To := #backup{}} ->
            {reply, {error, running}, State};
        #{} ->
            {reply, {error, not_started}, State}
    end;
handle_call({erased, To}, From, #state{backups = Backups} = State) ->
    case Backups of
        #{To := #backup{plan = none}} -> {reply, {error, not_started}, State};
        #{To := #backup{plan = Plan}} -> {noreply, asked(Plan, From, State)};
        #{} -> {reply, {ok, #{cut => 0}}, State}
    end;
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(backup, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

%% A run that has begun may have read what was changed since.
asked(#{target := Target} = Plan, Waiter, #state{backups = Backups} = State) ->
    To = warp_backup_target:describe(Target),
    Backup = (maps:get(To, Backups, #backup{plan = Plan}))#backup{plan = Plan},
    next(To, Backup#backup{next = [Waiter | Backup#backup.next]}, State).

next(To, #backup{runs = none, next = Waiters, plan = Plan, timer = Timer} = Backup, State) ->
    #state{context = Context, backups = Backups} = State,
    ok = cancel(Timer),
    Self = self(),
    %% NOTE: before anything is stored there. After a restart a deletion has to wait for this target too.
    Remembered = is_map_key(To, Backups) orelse remember(Context, [To | maps:keys(Backups)]),
    Quiet = Plan#{progress := fun(_) -> ok end},
    Pid = spawn_link(fun() ->
        Stored = fun() -> Self ! {stored, self()} end,
        Self ! {done, self(), case Remembered of {error, _} = Error -> Error; _ -> made(Context, Plan, Stored) end}
    end),
    %% What a caller is told of its own run it is not told of later ones.
    kept(To, Backup#backup{plan = Quiet, runs = {Pid, Waiters}, next = [], timer = none}, State);
next(To, Backup, State) ->
    kept(To, Backup, State).

cancel(none) -> ok;
cancel(Timer) ->
    _ = erlang:cancel_timer(Timer),
    ok.

%% NOTE: what it crashes with may have a key in it. Nobody sees more than where that was.
made(Context, Plan, Stored) ->
    try
        made_of(Context, Plan, Stored)
    catch
        Class:Reason:Stack ->
            {error, {internal, unicode:characters_to_binary(warp_redact:crash(Class, Reason, Stack))}}
    end.

made_of(Context, #{target := Target, keys := Keys, master := Master, progress := Tell}, Stored) ->
    opened(Target, fun(Segments) ->
        %% A function of the user must not end a run.
        Noted = fun(Report) -> _ = Stored(), try Tell(Report) catch _:_ -> ok end end,
        Run = fun(Of) ->
            warp_backup_run:run(Context, #{segments => Segments, keys => Of, master => Master}, Noted)
        end,
        case Keys of
            none -> Run(Segments);
            _ -> opened(Keys, Run)
        end
    end).

opened(Target, Fun) ->
    case warp_backup_target:open(Target) of
        {ok, Open} -> try Fun(Open) after ok = warp_backup_target:close(Open) end;
        {error, _} = Error -> Error
    end.

kept(To, Backup, #state{context = #{backups := Table}, backups = Backups} = State) ->
    true = ets:insert(Table, {To, Backup#backup.plan, about(To, Backup)}),
    State#state{backups = Backups#{To => Backup}}.

about(To, #backup{plan = Plan, last = Last, failing = Failing, runs = Runs}) ->
    #{to => To, every => case Plan of none -> not_started; #{every := Every} -> Every end, running => Runs =/= none,
      cut => case Last of none -> none; #{cut := Cut} -> Cut end,
      at => case Last of none -> none; #{at := At} -> At end,
      failing => case Failing of none -> none; {Why, Since} -> #{why => Why, since => Since} end}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(backup, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({stored, Pid}, #state{backups = Backups} = State) ->
    Used = maps:map(fun(_, #backup{runs = {Of, _}} = Backup) when Of =:= Pid -> Backup#backup{used = true};
                       (_, Backup) -> Backup
                    end, Backups),
    {noreply, State#state{backups = Used}};
handle_info({done, Pid, Result}, State) ->
    {noreply, done(Pid, Result, State)};
handle_info({'EXIT', _Pid, normal}, State) ->
    {noreply, State};
handle_info({'EXIT', Pid, Reason}, State) ->
    Why = case Reason of killed -> interrupted; _ -> {internal, <<"a run has ended">>} end,
    {noreply, done(Pid, {error, Why}, State)};
handle_info({again, To}, #state{backups = Backups} = State) ->
    case Backups of
        #{To := #backup{timer = Timer} = Backup} when Timer =/= none -> {noreply, next(To, Backup, State)};
        #{} -> {noreply, State}
    end;
handle_info(Stray, State) ->
    ok = warp_stray:note(backup, message, Stray),
    {noreply, State}.

done(Pid, Result, #state{backups = Backups} = State) ->
    case [Of || {_, #backup{runs = {Runs, _}}} = Of <- maps:to_list(Backups), Runs =:= Pid] of
        [{To, #backup{runs = {_, Waiters}} = Backup}] ->
            Used = Backup#backup.used orelse element(1, Result) =:= ok,
            Next = ended(To, noted(Result, To, Backup#backup{runs = none, used = Used}, State), State),
            lists:foreach(fun(From) -> gen_server:reply(From, Result) end, Waiters),
            Next;
        [] ->
            State
    end.

noted({ok, Report}, _To, Backup, _State) ->
    Backup#backup{last = Report, failing = none};
noted({error, _}, _To, #backup{last = none} = Backup, _State) ->
    Backup;
noted({error, Why}, _To, #backup{failing = {_, Since}} = Backup, _State) ->
    Backup#backup{failing = {Why, Since}};
noted({error, Why}, To, Backup, #state{context = #{name := Name}}) ->
    ?LOG_WARNING("Warp: context ~ts cannot be backed up to ~ts. Warp tries again. ~ts",
                 [Name, To, warp_error:format_error(Why)]),
    Backup#backup{failing = {Why, os:system_time(microsecond)}}.

ended(To, #backup{next = [_ | _]} = Backup, State) ->
    next(To, Backup, State);
%% The first run to a target has failed: whoever began it knows.
ended(To, #backup{used = false}, #state{context = #{backups := Table} = Context, backups = Backups} = State) ->
    true = ets:delete(Table, To),
    Left = maps:remove(To, Backups),
    %% If that cannot be written now, the target has to be forgotten by hand after a restart.
    _ = remember(Context, maps:keys(Left)),
    State#state{backups = Left};
ended(To, #backup{last = none} = Backup, State) ->
    kept(To, Backup#backup{plan = none, timer = none}, State);
ended(To, #backup{plan = #{every := Every}, failing = Failing} = Backup, State) ->
    Pause = case {Every, Failing} of
        {once, none} -> none;
        {once, _} -> ?RETRY_MS;
        {_, none} -> Every;
        {_, _} -> min(Every, ?RETRY_MS)
    end,
    Timer = case Pause of none -> none; _ -> erlang:send_after(Pause, self(), {again, To}) end,
    kept(To, Backup#backup{timer = Timer}, State).

%% The log must not show keys.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{context = #{name := Name}, backups = Backups}} = Status) ->
    warp_redact:status(Status, #{context => Name, backups => map_size(Backups)});
format_status(Status) ->
    warp_redact:status(Status, #{}).
