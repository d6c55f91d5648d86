%% @private A projector's worker: reads pieces of the log, calls the user's code, and returns what is to be
%% written. It has one job at a time, and does not know what became of the previous one.
%%
%% The worker is a process of its own so that its projector can always answer, and can end the worker when a
%% function of the user does not return or takes all memory.
-module(warp_projection_worker).

-export([start_link/3, ask/3, loop/2, max_bytes/0]).

-export_type([job/0, part/0, told/0, blamed/0]).

%% The entities that are set aside, and the events that are left out if they fail.
-type told() :: {#{binary() => warp_core:seq()}, #{{binary(), warp_core:seq()} => []}}.
-type job() ::
    %% Which run wrote the row at that position.
    {check, #{handle := warp_cluster_log:log(), position := non_neg_integer(), forget := [binary()]}}
    %% Reads behind that position, whose row that run wrote.
    | {read, #{handle := warp_cluster_log:log(), position := non_neg_integer(), run := non_neg_integer(),
             bytes := pos_integer(),
             told := told() | same, blamed := blamed(), single := boolean(), forget := [binary()]}}
    | {retry, #{handle := warp_cluster_log:log(), retry := warp_projection_retry:retry(), forget := [binary()],
               at := {non_neg_integer(), #{binary() => warp_core:seq()}, #{{binary(), warp_core:seq()} => []}}}}.
%% Events that are to blame, with the reason. Where the worker ended, only the position is known at first.
-type blamed() :: #{{binary(), warp_core:seq()} | {at, pos_integer()} => term()}.
%% A piece of the log, projected.
-type part() :: #{
    to := non_neg_integer(),
    events := non_neg_integer(),
    rows := non_neg_integer(),
    %% Events that led to commands: all of them where the work names them by their index, else the first one.
    projected := [{binary(), warp_core:seq()}],
    work := warp_projection_merge:work(),
    aside := #{binary() => warp_projection_aside:note()},
    %% The last seq that was seen of entities that are set aside.
    seen := #{binary() => warp_core:seq()},
    oldest := none | warp_core:micros(),
    %% The run of the shard's writer that wrote the last row.
    run => non_neg_integer(),
    %% Where the log ends, as far as that is known.
    log_end => non_neg_integer(),
    %% Why the piece ends there: the log ends, there was enough, the next row is held, or it cannot be read.
    then := done | more | held | {error, term()}
}.

-record(state, {
    context :: warp_context:context(),
    at :: warp_projection_user_code:at(),
    fold :: warp_projection_fold:fold(),
    told = {#{}, #{}} :: told()
}).

%% How large the worker's heap may become. States take a small part of that.
-define(MAX_WORDS, 64 * 1024 * 1024).
%% After this time the worker returns what it has, although there is more.
-define(ENOUGH_MS, 1000).
-define(IDLE_MS, 5000).

-spec start_link(warp_context:context(), non_neg_integer(), pos_integer()) -> {pid(), warp_projection_user_code:at()}.
start_link(Context, N, Generation) ->
    At = warp_projection_user_code:new(),
    Parent = self(),
    Start = fun() ->
        Kept = warp_projection_states:new(Context, N, Generation),
        loop(Parent, #state{context = Context, at = At, fold = warp_projection_fold:new(Context, At, Kept)})
    end,
    Limit = #{size => ?MAX_WORDS, kill => true, error_logger => false},
    {spawn_opt(Start, [link, {max_heap_size, Limit}]), At}.

%% @doc How much memory the worker may take.
-spec max_bytes() -> pos_integer().
max_bytes() -> ?MAX_WORDS * erlang:system_info(wordsize).

%% @doc Gives the worker a job. The caller, who is its projector, gets `{warp_job, Number, Result}'.
-spec ask(pid(), Number :: pos_integer(), job()) -> ok.
ask(Pid, Number, Job) ->
    Pid ! {warp_job, Number, Job},
    ok.

%% @private
-spec loop(pid(), #state{}) -> no_return().
loop(Parent, State) ->
    receive
        {warp_job, Number, Job} ->
            {Result, Next} = run(Job, State),
            Parent ! {warp_job, Number, Result},
            %% The user's code may have changed a flag of this process, and had messages sent to it.
            _ = process_flag(trap_exit, false),
            ok = drained(),
            loop(Parent, Next)
    after ?IDLE_MS ->
        erlang:hibernate(?MODULE, loop, [Parent, State])
    end.

drained() ->
    receive
        {warp_job, _, _} = Job -> self() ! Job, ok;
        _ -> drained()
    after 0 -> ok
    end.

%% A crash of the user's code is caught inside of the fold. A crash of Warp's own code is reported without
%% the data that it was about.
run(Job, State) ->
    try
        job(Job, State)
    catch
        Class:Reason:Stack ->
            exit({worker_failed, Class, unicode:characters_to_binary(warp_stray:shape(Reason)),
                  [{M, F, if is_list(A) -> length(A); true -> A end} || {M, F, A, _} <- Stack]})
    end.

job({check, #{handle := Handle, position := Position, forget := Forget}}, State) ->
    {warp_cluster_log:run_of(Handle, Position), forgotten(Forget, State)};
job({read, #{told := Told, forget := Forget} = Job}, #state{told = Before} = State) ->
    Now = case Told of same -> Before; _ -> Told end,
    read(Job, forgotten(Forget, State#state{told = Now}));
job({retry, #{handle := Handle, retry := Retry, at := Standing, forget := Forget}}, State0) ->
    #state{fold = Fold, at = At} = State = forgotten(Forget, State0),
    ok = warp_projection_user_code:row(At, 0),
    {Result, Next} = warp_projection_retry:next(Retry, Handle, Fold, Standing),
    {Result, State#state{fold = Next}}.

forgotten(Entities, #state{fold = Fold} = State) ->
    State#state{fold = lists:foldl(fun warp_projection_fold:forget/2, Fold, Entities)}.

read(#{handle := Handle, position := Position, bytes := Bytes} = Job, #state{fold = Fold} = State) ->
    case warp_cluster_log:follow(Handle, Position, Bytes, users, warp_projection_fold:names(Fold)) of
        {ok, {Rows, Last, Then}} ->
            Fetched = State#state{fold = warp_projection_fold:fetch(Rows, Fold)},
            Enough = erlang:monotonic_time(millisecond) + ?ENOUGH_MS,
            Part = #{to => Position, events => 0, rows => 0, projected => [], work => none,
                     aside => #{}, seen => #{}, oldest => none, then => Then},
            {Done, #state{fold = Used} = Next} = rows(Rows, Part, Job#{last => Last, enough => Enough}, Fetched),
            {standing(work(Done, Job), Last, Job), Next#state{fold = warp_projection_fold:trim(Used)}};
        {error, Reason} ->
            {{error, Reason}, State}
    end.

%% The run that wrote the last row of a part, and where the log ends.
standing(#{to := To, then := Then} = Part, Last, #{handle := Handle} = Job) ->
    case {is_the_same(Handle, Job), warp_cluster_log:run_of(Handle, To), log_end(Handle, Then, Last)} of
        {ok, {ok, Run}, {ok, LogEnd}} when is_integer(Run) -> {part, Part#{run => Run, log_end => LogEnd}};
        {ok, {ok, none}, _} -> {error, {corrupt, <<"the log ends before what was read of it">>}};
        {{error, _} = Error, _, _} -> Error;
        {_, {error, _} = Error, _} -> Error;
        {_, _, {error, _} = Error} -> Error
    end.

%% NOTE: the handle of a shard that was opened again is another one. That of a shard on another node is the same, and so
%% it is looked at, after the rows were read, whether the log still has what they were read behind.
is_the_same({remote, _, _, _, _} = Handle, #{position := Position, run := Run}) ->
    case warp_cluster_log:run_of(Handle, Position) of
        {ok, Run} -> ok;
        {ok, _Another} -> {error, closed};
        {error, _} = Error -> Error
    end;
is_the_same(_Handle, _Job) ->
    ok.

log_end(_Handle, done, Last) -> {ok, Last};
log_end(Handle, _Then, _Last) -> warp_cluster_log:position(Handle).

rows([], Part, #{last := Last}, State) ->
    {Part#{to := Last}, State};
rows([{Position, Entity, First, Last, Events} | Rows], Part, Job, State) ->
    #{handle := Handle, enough := Enough} = Job,
    #state{context = Context, fold = Fold, at = At, told = {Aside, LeftOut} = Told} = State,
    #{seen := Seen, aside := Noted} = Part,
    case stops(Position, Entity, First, Enough, Part, Context) of
        no when is_map_key(Entity, Aside) ->
            rows(Rows, count(First, Last, Part#{seen := Seen#{Entity => Last}}), Job, State);
        no ->
            ok = warp_projection_user_code:row(At, Position),
            Blamed = known(maps:get(blamed, Job), Position, Entity),
            case warp_projection_fold:events(Handle, {Entity, First, Last}, Events, {Blamed, LeftOut}, Fold) of
                {error, Reason} ->
                    {upto(Position - 1, {error, Reason}, Part), State};
                {Outcomes, NextFold} ->
                    Counted = since(Events, count(First, Last, Part)),
                    case sort(Outcomes, Counted) of
                        {none, Done} ->
                            rows(Rows, Done, Job, State#state{fold = NextFold});
                        {Note, Done} ->
                            {Seq, _, _, _} = Note,
                            rows(Rows, Done#{seen := Seen#{Entity => Last}, aside := Noted#{Entity => Note}},
                                 Job, State#state{fold = NextFold, told = setelement(1, Told, Aside#{Entity => Seq})})
                    end
            end;
        Then ->
            {upto(Position - 1, Then, Part), State}
    end.

stops(Position, Entity, First, Enough, #{rows := Rows}, Context) ->
    case warp_erasure_holds:is_held(Context, Entity, {Position, First}) of
        true ->
            held;
        false when Rows > 0 ->
            case erlang:monotonic_time(millisecond) > Enough of
                true -> more;
                false -> no
            end;
        false ->
            no
    end.

upto(Position, Then, #{to := From} = Part) -> Part#{to := max(From, Position), then := Then}.

%% The worker ended at this position before: now that the row is read, its entity is known.
known(Blamed, Position, Entity) ->
    case Blamed of
        #{{at, Position} := {Seq, Ended}} -> Blamed#{{Entity, Seq} => Ended};
        #{} -> Blamed
    end.

count(First, Last, #{events := Events, rows := Rows} = Part) ->
    Part#{events := Events + Last - First + 1, rows := Rows + 1}.

since([#{recorded_at := Time} | _], #{oldest := none} = Part) -> Part#{oldest := Time};
since(_Events, Part) -> Part.

sort([], Part) ->
    {none, Part};
sort([{ok, Projected} | Outcomes], #{projected := Before} = Part) ->
    sort(Outcomes, Part#{projected := [Projected | Before]});
sort([{aside, Event, Reason}], Part) ->
    {warp_projection_aside:note(Event, Reason), Part}.

work(#{projected := Reversed} = Part, #{single := Single}) ->
    Projected = lists:reverse(Reversed),
    How = case Single of true -> one_by_one; false -> together end,
    Work = warp_projection_merge:work(How, Projected),
    Blamable =
        case Work of
            {merged, _} -> lists:sublist(Projected, 1);
            _ -> Projected
        end,
    Part#{work := Work, projected := [{Entity, Seq} || {Entity, Seq, _} <- Blamable]}.
