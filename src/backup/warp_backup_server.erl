%% @private Keeps the backups of a context up to date: makes a run every so often, and one at once when an entity was
%% deleted, so that its key goes from the target. A process of its own makes a run, one at a time for each target.
-module(warp_backup_server).
-behaviour(gen_server).

-export([new/0, plans/0, start_link/2, start/3, stop/2, forget/2, run/3, merge/3, erased/2, stats/1, remembered/1]).
-export([erased_here/2]).

-export_type([report/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% The pause after a run that failed, unless runs are more frequent.
-define(RETRY_MS, 5000).
%% The pause before another node is asked again.
-define(LOOK_MS, 100).
%% The file, beside the shards, with the addresses of the targets that were ever backed up to.
-define(REMEMBERED, "backups").

%% `keep' and `every' may be those of the plan that is there.
-type plan() :: #{target := warp_backup_target:target(), keys := warp_backup_target:target() | none,
                  master := warp_backup_master:master(), every := pos_integer() | once | as_before,
                  keep := warp_backup_keep:keep() | as_before, progress := fun((report()) -> term())}.
-type report() :: #{cut := non_neg_integer(), atom() => integer()}.

%% What a run is made for. All but `again' have a plan of their own, which is adopted once it has worked.
%% `merge' is a run that then merges all that can be merged.
-type aim() :: {start | run | merge, plan()} | again.

-record(backup, {
    %% None: nothing has worked since this start of the context.
    plan = none :: none | plan(),
    %% The run under way, and who waits for it; and who waits for those behind it, the first to come first.
    runs = none :: none | {pid(), aim(), [gen_server:from()]},
    next = [] :: [{aim(), gen_server:from()}],
    timer = none :: none | reference(),
    %% Whether anything may be stored there.
    used = false :: boolean(),
    %% When the last cut was made, and why the last run failed, if it did.
    last = none :: none | warp_backup_run:report(),
    failing = none :: none | {Why :: term(), Since :: warp_core:micros()},
    %% Up to which segment merging gains nothing; and why the last attempt failed, if it did.
    settled = 0 :: non_neg_integer(),
    unmerged = none :: none | {Why :: term(), Since :: warp_core:micros()}
}).

-record(state, {
    context :: warp_context:context(),
    plans :: ets:table(),
    %% By the address of the target.
    backups = #{} :: #{binary() => #backup{}}
}).

%% @doc The table of what is known of each target: {To, About}. It outlives the process.
-spec new() -> ets:table().
new() -> ets:new(warp_backups, [public, set]).

%% @doc The table of the plan of each target, {To, plan()}, which the calling process owns. Backups go on with it after
%% a crash: it has to outlive all processes of the context.
-spec plans() -> ets:table().
plans() -> ets:new(warp_backup_plans, [public, set]).

%% @doc Starts the process of a context.
-spec start_link(warp_context:ref(), Plans :: ets:table()) -> gen_server:start_ret().
start_link(Ref, Plans) ->
    gen_server:start_link(?MODULE, {Ref, Plans}, []).

%% @doc Begins to back up to a target again and again, or changes how. Waits for the first run, and gives its report.
%% After an error nothing has begun.
-spec start(warp_context:context(), plan(), timeout()) -> {ok, report()} | {error, term()}.
start(Context, Plan, Timeout) -> ask(Context, {start, Plan}, Timeout).

%% @doc Makes one run, or waits for one that has begun after this call.
-spec run(warp_context:context(), plan(), timeout()) -> {ok, report()} | {error, term()}.
run(Context, Plan, Timeout) -> ask(Context, {run, Plan}, Timeout).

%% @doc Makes a run, and merges all that can be merged.
-spec merge(warp_context:context(), plan(), timeout()) -> {ok, report()} | {error, term()}.
merge(Context, Plan, Timeout) -> ask(Context, {merge, Plan}, Timeout).

%% @doc Ends the backups to a target; a run that is under way ends first. `not_started': there are none.
-spec stop(warp_context:context(), warp_backup_target:target()) -> ok | {error, not_started | term()}.
stop(Context, Target) -> ask(Context, {stop, warp_backup_target:describe(Target)}, infinity).

%% @doc Says that a target is gone, and with it what it had: deletions do not wait for it any more.
-spec forget(warp_context:context(), warp_backup_target:target()) -> ok | {error, term()}.
forget(Context, Target) -> ask(Context, {forget, warp_backup_target:describe(Target)}, infinity).

%% @doc Waits until all that was erased up to now is dead data in all targets that this context backs up to, from
%% whichever node: what these are. Errors: `interrupted' while this process or what it knows is being restarted;
%% `{node_unavailable, Node}': it cannot be asked by the deadline what it backs up to; else the first of the targets
%% that this is not known of, and why.
-spec erased(warp_context:context(), warp_deadline:deadline()) ->
    {ok, [#{to := binary(), cut := non_neg_integer()}]}
    | {error, interrupted | {node_unavailable, node()} | {To :: binary(), Why :: term()}}.
erased(Context, Deadline) ->
    case {of_this_node(Context, Deadline), warp_cluster_member:other_members(Context)} of
        {{ok, Here}, {ok, Nodes}} -> of_others(Nodes, Context, Deadline, Here);
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

of_others([], _Context, _Deadline, Done) ->
    {ok, Done};
of_others([Node | Nodes] = All, Context, Deadline, Done) ->
    case of_other(Node, Context, Deadline) of
        {ok, There} ->
            of_others(Nodes, Context, Deadline, Done ++ (There -- Done));
        {error, Why} when Why =:= interrupted; Why =:= {node_unavailable, Node} ->
            %% It may come back, or leave.
            ok = timer:sleep(min(?LOOK_MS, warp_deadline:left(Deadline))),
            case {warp_deadline:is_over(Deadline), warp_cluster_member:other_members(Context)} of
                {true, _} -> {error, Why};
                {false, {ok, Now}} -> of_others([Of || Of <- All, lists:member(Of, Now)], Context, Deadline, Done);
                {false, {error, _} = Error} -> Error
            end;
        {error, _} = Error ->
            Error
    end.

of_other(Node, #{ref := Ref} = Context, Deadline) ->
    case warp_cluster_member:server(Context, Node, 0) of
        {ok, Server} ->
            Call = {?MODULE, erased_here, [Ref, warp_deadline:left(Deadline)]},
            warp_backup_nodes:ask(Server, Call, Deadline);
        {error, _} = Error ->
            Error
    end.

%% @doc The same for the targets of this node alone, for another one.
-spec erased_here(warp_context:ref(), timeout()) -> {ok, [map()]} | {error, term()}.
erased_here(Ref, Timeout) ->
    case warp_context:find(Ref) of
        {ok, Context} -> of_this_node(Context, warp_deadline:from(Timeout));
        not_found -> {error, interrupted}
    end.

of_this_node(Context, Deadline) ->
    case warp_context:registered(Context, backup) of
        {ok, Pid} ->
            %% NOTE: after the process was found, which is registered once the table has all targets.
            case rows(Context) of
                gone -> {error, interrupted};
                Rows -> erased([To || {To, _} <- Rows], Pid, Deadline, [])
            end;
        none ->
            {error, interrupted}
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

%% @doc What is known of each target: nothing while the table's keeper is being restarted.
-spec stats(warp_context:context()) -> #{backups := [map()]}.
stats(Context) ->
    #{backups => case rows(Context) of gone -> []; Rows -> [About || {_, About} <- Rows] end}.

rows(#{backups := Table}) ->
    try
        lists:sort(ets:tab2list(Table))
    catch
        %% Its keeper has ended, and the table with it.
        error:badarg -> gone
    end.

-spec init({warp_context:ref(), ets:table()}) -> {ok, #state{}} | {stop, {shutdown, context_stopped} | term()}.
init({Ref, Plans}) ->
    _ = process_flag(trap_exit, true),
    case warp_context:find(Ref) of
        {ok, Context} ->
            case resumed(Context, Plans) of
                {ok, _} = Resumed ->
                    ok = warp_context:register(Context, backup, self()),
                    Resumed;
                {error, Why} ->
                    {stop, Why}
            end;
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

%% What this process did before it crashed goes on; and a target that an earlier start of the context has backed up to
%% may hold what is deleted from now on.
resumed(#{dir := Dir} = Context, Plans) ->
    case remembered(Dir) of
        {ok, Remembered} ->
            Known = maps:merge(maps:from_keys(Remembered, none), maps:from_list(ets:tab2list(Plans))),
            All = maps:map(fun(_, Plan) -> #backup{plan = Plan, used = true} end, Known),
            %% NOTE: all of them first. Each that begins may have the list of targets written.
            {ok, maps:fold(
                fun(To, #backup{plan = none} = Backup, State) -> kept(To, Backup, State);
                   (To, Backup, State) -> begun(To, again, [], Backup, State)
                end,
                #state{context = Context, plans = Plans, backups = All}, All)};
        {error, _} = Error ->
            Error
    end.

%% @doc The addresses of the targets that the context in this folder has ever backed up to, without those that it was
%% told to forget. Errors: those of reading a file.
-spec remembered(Dir :: binary()) -> {ok, [binary()]} | {error, term()}.
remembered(Dir) ->
    %% NOTE: not by the VM's own threads for files, which can all be taken: no restart may depend on one.
    case warp_nif:get_file(path(Dir)) of
        {ok, Text} -> {ok, [uri_string:unquote(Line) || Line <- binary:split(Text, <<"\n">>, [global, trim_all])]};
        none -> {ok, []};
        {error, _} = Error -> Error
    end.

remember(#{dir := Dir, file_access := Access}, Targets) ->
    Lines = [[uri_string:quote(To, "/"), "\n"] || To <- lists:sort(Targets)],
    warp_nif:put_file(path(Dir), iolist_to_binary(Lines), Access, replace).

path(Dir) -> filename:join(Dir, ?REMEMBERED).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({Aim, #{target := _}} = Asked, From, State) when Aim =:= start; Aim =:= run; Aim =:= merge ->
    {noreply, asked(Asked, From, State)};
handle_call({stop, To}, _From, #state{backups = Backups} = State) ->
    case Backups of
        #{To := Backup} ->
            case stopped(Backup) of
                Backup when Backup#backup.plan =:= none -> {reply, {error, not_started}, State};
                Stopped -> {reply, ok, kept(To, Stopped, State)}
            end;
        #{} ->
            {reply, {error, not_started}, State}
    end;
handle_call({forget, To}, _From, #state{context = Context, backups = Backups} = State) ->
    case Backups of
        #{To := #backup{runs = none, timer = Timer}} ->
            case remember(Context, maps:keys(Backups) -- [To]) of
                ok ->
                    ok = cancel(Timer),
                    {reply, ok, gone(To, State)};
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
        #{To := Backup} -> {noreply, next(To, waits(again, From, Backup), State)};
        #{} -> {reply, {ok, #{cut => 0}}, State}
    end;
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(backup, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

%% Runs that were asked for are made, and none after them.
stopped(#backup{plan = Plan, runs = Runs, next = Next, timer = Timer} = Backup) ->
    ok = cancel(Timer),
    Once = fun({start, Of}) -> {run, Of}; (Aim) -> Aim end,
    Backup#backup{
        timer = none,
        plan = case Plan of none -> none; _ -> Plan#{every := once} end,
        runs = case Runs of none -> none; {Pid, Aim, Waiters} -> {Pid, Once(Aim), Waiters} end,
        next = [{Once(Aim), From} || {Aim, From} <- Next]
    }.

asked({_, #{target := Target}} = Aim, From, #state{backups = Backups} = State) ->
    To = warp_backup_target:describe(Target),
    next(To, waits(Aim, From, maps:get(To, Backups, #backup{})), State).

%% A run that has begun may have read what was changed since.
waits(Aim, From, #backup{next = Next} = Backup) -> Backup#backup{next = Next ++ [{Aim, From}]}.

%% Who waits first has a run begun, together with all who want the same.
next(To, #backup{runs = none, next = [{Aim, _} | _] = Next} = Backup, State) ->
    {Same, Others} = lists:partition(fun({Of, _}) -> Of =:= Aim end, Next),
    begun(To, Aim, [From || {_, From} <- Same], Backup#backup{next = Others}, State);
next(To, Backup, State) ->
    kept(To, Backup, State).

begun(To, again, Waiters, #backup{plan = none, used = Used} = Backup, State) ->
    Answer = case Used of true -> {error, not_started}; false -> {ok, #{cut => 0}} end,
    lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Waiters),
    ended(To, Backup, State);
begun(To, Aim, Waiters, #backup{timer = Timer} = Backup, #state{context = Context, backups = Backups} = State) ->
    ok = cancel(Timer),
    Self = self(),
    %% NOTE: before anything is stored there. After a restart a deletion has to wait for this target too.
    Remembered = is_map_key(To, Backups) orelse remember(Context, [To | maps:keys(Backups)]),
    Plan = plan(Aim, Backup),
    How = case Aim of {merge, _} -> all; _ -> {some, Backup#backup.settled} end,
    Pid = spawn_link(fun() ->
        Say = fun(What) -> Self ! {What, self()} end,
        Result = case Remembered of {error, _} = Error -> Error; _ -> made(Context, Plan, How, Say) end,
        Self ! {done, self(), Result}
    end),
    kept(To, Backup#backup{runs = {Pid, Aim, Waiters}, timer = none}, State).

plan(again, #backup{plan = Plan}) -> Plan;
plan({_, Plan}, Backup) ->
    maps:map(fun(Key, as_before) -> maps:get(Key, before(Backup)); (_, Value) -> Value end, Plan).

before(#backup{plan = none}) -> #{every => once, keep => all};
before(#backup{plan = Plan}) -> Plan.

cancel(none) -> ok;
cancel(Timer) ->
    _ = erlang:cancel_timer(Timer),
    ok.

%% NOTE: what it crashes with may have a key in it. Nobody sees more than where that was.
made(Context, Plan, How, Say) ->
    try
        made_of(Context, Plan, How, Say)
    catch
        Class:Reason:Stack ->
            {error, {internal, unicode:characters_to_binary(warp_redact:crash(Class, Reason, Stack))}}
    end.

made_of(Context, #{target := Target, keys := Keys, master := Master, keep := Keep, progress := Tell}, How, Say) ->
    %% A function of the user must not end a run.
    Noted = fun(Report) -> _ = Say(stored), try Tell(Report) catch _:_ -> ok end end,
    warp_backup_places:with(Target, Keys, fun(Open) ->
        Places = Open#{master => Master},
        case warp_backup_run:run(Context, Places, fun(Report) -> Noted(Report#{merged => 0}) end) of
            {ok, Report} -> merged(Context, Places, {Keep, How}, Report#{merged => 0}, {Noted, Say});
            {error, _} = Error -> Error
        end
    end).

%% A run that was made is made, whatever becomes of the merging that nobody has asked for.
merged(Context, Places, {Keep, How}, Report, {Noted, Say}) ->
    case {warp_backup_merge:run(Context, Places, Keep, How, fun() -> Noted(Report) end), How} of
        {{ok, #{merged := Count, settled := Settled}}, _} ->
            _ = Say({settled, Settled}),
            {ok, Report#{merged := Count}};
        {{error, Why}, {some, _}} ->
            _ = Say({unmerged, Why}),
            {ok, Report};
        {{error, _} = Error, all} ->
            Error
    end.

kept(To, #backup{plan = Plan} = Backup, #state{context = #{backups := Table}, plans = Plans, backups = All} = State) ->
    _ = [true = ets:insert(Plans, {To, Plan}) || Plan =/= none],
    true = ets:insert(Table, {To, about(To, Backup)}),
    State#state{backups = All#{To => Backup}}.

gone(To, #state{context = #{backups := Table}, plans = Plans, backups = All} = State) ->
    true = ets:delete(Plans, To),
    true = ets:delete(Table, To),
    State#state{backups = maps:remove(To, All)}.

about(To, #backup{plan = Plan, last = Last, failing = Failing, unmerged = Unmerged, runs = Runs}) ->
    #{to => To, every => case Plan of none -> not_started; #{every := Every} -> Every end, running => Runs =/= none,
      cut => case Last of none -> none; #{cut := Cut} -> Cut end,
      at => case Last of none -> none; #{at := At} -> At end,
      failing => since(Failing), unmerged => since(Unmerged)}.

since(none) -> none;
since({Why, Since}) -> #{why => Why, since => Since}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(backup, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({stored, Pid}, State) ->
    {noreply, of_run(Pid, fun(_To, Backup) -> Backup#backup{used = true} end, State)};
handle_info({{settled, Settled}, Pid}, State) ->
    {noreply, of_run(Pid, fun(_To, Backup) -> Backup#backup{settled = Settled, unmerged = none} end, State)};
handle_info({{unmerged, Why}, Pid}, State) ->
    {noreply, of_run(Pid, fun(To, Backup) -> unmerged(Why, To, Backup, State) end, State)};
handle_info({done, Pid, Result}, State) ->
    {noreply, done(Pid, Result, State)};
handle_info({'EXIT', _Pid, normal}, State) ->
    {noreply, State};
handle_info({'EXIT', Pid, Reason}, State) ->
    Why = case Reason of killed -> interrupted; _ -> {internal, <<"a run has ended">>} end,
    {noreply, done(Pid, {error, Why}, State)};
handle_info({again, To}, #state{backups = Backups} = State) ->
    case Backups of
        #{To := #backup{timer = Timer} = Backup} when Timer =/= none ->
            {noreply, begun(To, again, [], Backup, State)};
        #{} -> {noreply, State}
    end;
handle_info(Stray, State) ->
    ok = warp_stray:note(backup, message, Stray),
    {noreply, State}.

%% Changes the backup whose run this is.
of_run(Pid, Fun, #state{backups = Backups} = State) ->
    Changed = maps:map(fun(To, #backup{runs = {Of, _, _}} = Backup) when Of =:= Pid -> Fun(To, Backup);
                          (_, Backup) -> Backup
                       end, Backups),
    State#state{backups = Changed}.

unmerged(Why, _To, #backup{unmerged = {_, Since}} = Backup, _State) ->
    Backup#backup{unmerged = {Why, Since}};
unmerged(Why, To, Backup, #state{context = #{name := Name}}) ->
    ?LOG_WARNING("Warp: context ~ts is backed up to ~ts, but old segments cannot be merged. Warp tries again. ~ts",
                 [Name, To, warp_error:format_error(Why)]),
    Backup#backup{unmerged = {Why, os:system_time(microsecond)}}.

done(Pid, Result, #state{backups = Backups} = State) ->
    case [Of || {_, #backup{runs = {Runs, _, _}}} = Of <- maps:to_list(Backups), Runs =:= Pid] of
        [{To, #backup{runs = {_, Aim, Waiters}, used = Used} = Backup}] ->
            IsOk = element(1, Result) =:= ok,
            Over = Backup#backup{runs = none, used = Used orelse IsOk},
            Ended = case Aim of
                again -> noted(Result, To, Over, State);
                {_, _} when IsOk -> noted(Result, To, adopted(Aim, Over), State);
                %% Whoever asked for it knows; what worked before goes on.
                {_, _} -> Over
            end,
            Next = ended(To, Ended, State),
            lists:foreach(fun(From) -> gen_server:reply(From, Result) end, Waiters),
            Next;
        [] ->
            State
    end.

%% What a caller is told of its own run it is not told of later ones. How often runs are made, and what they keep, only
%% a start says.
adopted({Kind, Plan} = Aim, Backup) ->
    Lasting = case Kind of start -> Plan; _ -> before(Backup) end,
    Adopted = maps:merge(plan(Aim, Backup), maps:with([every, keep], Lasting)),
    Backup#backup{plan = Adopted#{progress := fun(_) -> ok end}}.

noted({ok, Report}, _To, Backup, _State) ->
    Backup#backup{last = Report, failing = none};
noted({error, Why}, _To, #backup{failing = {_, Since}} = Backup, _State) ->
    Backup#backup{failing = {Why, Since}};
noted({error, Why}, To, Backup, #state{context = #{name := Name}}) ->
    ?LOG_WARNING("Warp: context ~ts cannot be backed up to ~ts. Warp tries again. ~ts",
                 [Name, To, warp_error:format_error(Why)]),
    Backup#backup{failing = {Why, os:system_time(microsecond)}}.

ended(To, #backup{next = [_ | _]} = Backup, State) ->
    next(To, Backup, State);
%% Nothing was ever stored there.
ended(To, #backup{used = false}, State) ->
    #state{context = Context, backups = Left} = Next = gone(To, State),
    %% If that cannot be written now, the target has to be forgotten by hand after a restart.
    _ = remember(Context, maps:keys(Left)),
    Next;
ended(To, #backup{plan = none} = Backup, State) ->
    kept(To, Backup, State);
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
