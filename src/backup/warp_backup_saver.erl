%% @private Makes the segments and key pages of shards that are on this node, for the run that asks for them, which may
%% be on another node. A process for each run, which ends with it.
-module(warp_backup_saver).
-behaviour(gen_server).

-export([start/3, segment/1, page/1, stop/1, make_keys/3]).
-export([begin_here/3, make_keys_here/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-export_type([task/0, part/0]).

%% The object `backup' and its key; the stream as {@link warp_nif:save/4} takes it; when the cut was, and whether the
%% last segment completes it; and all shards, in order.
-type task() :: {{Object :: binary(), Key :: binary()}, Stream :: tuple(), {warp_core:micros(), boolean()}, [part()]}.
%% A shard, what is to be saved, and up to where the key pages are complete. One that is elsewhere has nothing to save.
-type part() :: {N :: non_neg_integer(), {From :: integer(), Run :: integer(), To :: integer()}, Covered :: integer()}.

%% What is being saved, and what of it was made last.
-type state() :: {warp_nif:saving(), binary()}.

%% How much another node is sent at once: nothing else waits long behind it.
-define(PIECE_BYTES, 256 * 1024).
%% How long a segment, a piece, or the keys of a shard may take. The disk can hold them up.
-define(PATIENCE_MS, 300000).

%% @doc Starts one at a place. Errors: `{shard_unavailable, N}'; those of {@link warp_backup_nodes:ask/3}.
-spec start(warp_backup_nodes:place(), warp_context:context(), task()) -> {ok, pid()} | {error, term()}.
start(Place, #{ref := Ref}, Of) ->
    warp_backup_nodes:ask(Place, {?MODULE, begin_here, [Ref, self(), Of]}, warp_deadline:from(?PATIENCE_MS)).

%% @doc The next segment, as {@link warp_nif:save_segment/1} gives it.
-spec segment(pid()) ->
    {ok, {pos_integer(), binary(), boolean(), non_neg_integer(), non_neg_integer(), binary()} | none} | {error, term()}.
segment(Pid) ->
    case next(Pid, segment) of
        {ok, {{Number, Hash, IsLast, Rows, Events}, Bytes}} -> {ok, {Number, Hash, IsLast, Rows, Events, Bytes}};
        Other -> Other
    end.

%% @doc The next key page, as {@link warp_nif:save_page/1} gives it.
-spec page(pid()) -> {ok, {non_neg_integer(), non_neg_integer(), binary()} | none} | {error, term()}.
page(Pid) ->
    case next(Pid, page) of
        {ok, {{Shard, Page}, Bytes}} -> {ok, {Shard, Page, Bytes}};
        Other -> Other
    end.

next(Pid, What) ->
    case call(Pid, What) of
        {ok, {About, Size}} ->
            case fetched(Pid, 0, Size, []) of
                {ok, Bytes} -> {ok, {About, Bytes}};
                {error, _} = Error -> Error
            end;
        Other ->
            Other
    end.

fetched(_Pid, Size, Size, Pieces) ->
    {ok, iolist_to_binary(lists:reverse(Pieces))};
fetched(Pid, At, Size, Pieces) ->
    %% What is on this node is not copied.
    Most = case node(Pid) =:= node() of true -> Size; false -> ?PIECE_BYTES end,
    case call(Pid, {piece, At, min(Most, Size - At)}) of
        {ok, Piece} -> fetched(Pid, At + byte_size(Piece), Size, [Piece | Pieces]);
        {error, _} = Error -> Error
    end.

call(Pid, Request) -> warp_call:call(Pid, Request, warp_deadline:from(?PATIENCE_MS)).

%% @doc Ends it.
-spec stop(pid()) -> ok.
stop(Pid) -> gen_server:cast(Pid, stop).

%% @doc Has the keys of all lives of a shard made up to a position, where the shard is.
-spec make_keys(warp_context:context(), non_neg_integer(), non_neg_integer()) -> ok | {error, term()}.
make_keys(#{ref := Ref} = Context, N, To) ->
    How = {repeatable, fun() -> warp_deadline:from(?PATIENCE_MS) end},
    warp_cluster_call:run(Context, N, {?MODULE, make_keys_here, [Ref, N, To]}, How, fun() ->
        warp_context:with_shard(Context, N, fun(Handle) -> warp_nif:make_keys(Handle, To) end)
    end).

%% @doc The same, for another node.
-spec make_keys_here(warp_context:ref(), non_neg_integer(), non_neg_integer()) -> ok | {error, term()}.
make_keys_here(Ref, N, To) ->
    case warp_context:find(Ref) of
        {ok, Context} -> make_keys(Context, N, To);
        not_found -> {error, context_stopped}
    end.

%% @doc Starts one here, for a run that may be on another node.
-spec begin_here(warp_context:ref(), Run :: pid(), task()) -> {ok, pid()} | {error, term()}.
begin_here(Ref, Run, {{Object, Key}, Stream, Cut, Parts}) ->
    %% NOTE: not in the process itself, whose crash would show the key.
    case warp_nif:backup_open(Object, {key, Key}) of
        {ok, Backup} -> started(gen_server:start(?MODULE, {Ref, Run, {Backup, Stream, Cut, Parts}}, []));
        {error, _} = Error -> Error
    end.

started({ok, _} = Started) -> Started;
started({error, {shutdown, Why}}) -> {error, Why};
started({error, _}) -> {error, interrupted}.

-spec init({warp_context:ref(), pid(), tuple()}) -> {ok, state()} | {stop, {shutdown, term()}}.
init({Ref, Run, {Backup, Stream, Cut, Parts}}) ->
    _ = monitor(process, Run),
    case warp_context:find(Ref) of
        {ok, Context} ->
            With = [{handle(Context, Part), Part} || Part <- Parts],
            case [Why || {{error, Why}, _} <- With] of
                [] ->
                    Open = [{Handle, N, Range, Covered} || {Handle, {N, Range, Covered}} <- With],
                    {ok, Saving} = warp_nif:save(Backup, Stream, Cut, Open),
                    {ok, {Saving, <<>>}};
                [Why | _] ->
                    {stop, {shutdown, Why}}
            end;
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

handle(Context, {N, {From, _Run, To}, Covered}) when To > From; To > Covered ->
    case warp_context:shard(Context, N) of
        {ok, Handle} -> Handle;
        {error, _} = Error -> Error
    end;
handle(_Context, _Nothing) ->
    nil.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()}.
handle_call(segment, _From, {Saving, _}) ->
    case warp_nif:save_segment(Saving) of
        {ok, {Number, Hash, IsLast, Rows, Events, Bytes}} ->
            {reply, {ok, {{Number, Hash, IsLast, Rows, Events}, byte_size(Bytes)}}, {Saving, Bytes}};
        Other ->
            {reply, Other, {Saving, <<>>}}
    end;
handle_call(page, _From, {Saving, _}) ->
    case warp_nif:save_page(Saving) of
        {ok, {Shard, Page, Bytes}} -> {reply, {ok, {{Shard, Page}, byte_size(Bytes)}}, {Saving, Bytes}};
        Other -> {reply, Other, {Saving, <<>>}}
    end;
handle_call({piece, At, Size}, _From, {_, Bytes} = State) when At >= 0, Size >= 0, At + Size =< byte_size(Bytes) ->
    {reply, {ok, binary:part(Bytes, At, Size)}, State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(backup_saver, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), state()) -> {noreply, state()} | {stop, normal, state()}.
handle_cast(stop, State) ->
    {stop, normal, State};
handle_cast(Stray, State) ->
    ok = warp_stray:note(backup_saver, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()} | {stop, normal, state()}.
handle_info({'DOWN', _, process, _, _}, State) ->
    {stop, normal, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(backup_saver, message, Stray),
    {noreply, State}.

%% The log must not show what is saved.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    warp_redact:status(Status, #{}).
