%% @private Begins a subscription: finds out where in the log it begins, and starts its process.
-module(warp_subscription_start).

-export([start/5, begin_names/2]).

%% How long finding out where a subscriber begins may take, which reads the log for a time.
-define(BEGIN_MS, 60000).

%% @doc Starts the process of a subscription of the calling process. Errors: those of `warp_subscription:subscribe/2'.
-spec start(warp_context:context(), warp_subscription_cursor:source(), [non_neg_integer()], map(),
            warp_deadline:deadline()) -> {ok, pid()} | {error, term()}.
start(Context, Source, Shards, #{from := From, credit := Credit} = Options, Deadline) ->
    Filter = warp_subscription_filter:new(Source, Options),
    Marks = marks_aside(Context, Source, Shards, Filter, Deadline),
    Start = fun(Begun, Erased, Named) ->
        Settings = #{source => Source, credit => Credit, marks => Begun, erased => Erased},
        warp_subscription_sup:start_subscription(
            Context, #{subscriber => self(), filter => Filter, core => Settings, named => Named,
                       convert => maps:get(convert, Options, none)}, Deadline)
    end,
    case Options of
        #{name := Name, consumers := Consumers} when Name =/= none ->
            case known(Context, Name, Filter, From, Marks, Deadline) of
                ok -> Start(#{}, [], {Name, Consumers});
                {error, _} = Error -> Error
            end;
        #{} ->
            case Marks(From) of
                {ok, Begun, Erased} -> Start(Begun, Erased, none);
                {error, _} = Error -> Error
            end
    end.

%% @doc Has the names of subscribers begin that are new, before anything is appended that is for them. Errors: those of
%% reading, and of the file of the names; `{bad_cursor, Why}' also of the option `effects_from'.
-spec begin_names(warp_context:context(), [warp_subscription_options:subscriber()]) -> ok | {error, term()}.
begin_names(_Context, []) ->
    ok;
begin_names(Context, [Subscriber | Others]) ->
    case begin_name(Context, Subscriber) of
        ok -> begin_names(Context, Others);
        %% The name is there, and its subscriber says what is wrong.
        {error, {bad_cursor, {ahead_of_log, _}}} -> begin_names(Context, Others);
        %% In a cluster another node may have to be asked. Its subscriber begins as soon as that can be.
        {error, {Away, _}} when Away =:= node_unavailable; Away =:= unknown_outcome -> begin_names(Context, Others);
        {error, {shard_unavailable, _}} -> {error, interrupted};
        {error, overloaded} -> {error, interrupted};
        {error, timeout} -> {error, {io_error, <<"where subscribers begin could not be written in time">>}};
        {error, _} = Error -> Error
    end.

begin_name(#{shards := Shards} = Context, #{name := Name, options := #{from := From} = Options}) ->
    case warp_subscription_effects:new(Options, Shards) of
        {ok, _} ->
            Deadline = warp_deadline:from(?BEGIN_MS),
            Filter = warp_subscription_filter:new({shards, Shards}, Options),
            Marks = marks_aside(Context, {shards, Shards}, lists:seq(0, Shards - 1), Filter, Deadline),
            known(Context, Name, Filter, From, Marks, Deadline);
        {error, _} = Error ->
            Error
    end.

marks_aside(Context, Source, Shards, Filter, Deadline) ->
    Reader = warp_subscription_reader:new(Context, Filter),
    fun(Begin) -> warp_entity_call:aside(fun() -> marks(Begin, Source, Shards, Reader) end, Deadline) end.

%% Sees to it that there is such a name. A new one begins where its first subscriber says.
known(Context, Name, Filter, From, Marks, Deadline) ->
    case warp_subscription_names:place(Context, Name, Deadline) of
        {ok, Stored} ->
            case Marks({marks, Stored}) of
                {ok, _, _} -> ok;
                {error, _} = Error -> Error
            end;
        unknown ->
            case Marks(From) of
                {ok, Begun, _} ->
                    {prefix, Prefix} = warp_subscription_filter:route(Filter),
                    warp_subscription_names:create(Context, Name, Begun, Prefix, Deadline);
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% By shard, where it begins; and entities that were erased since.
marks({cursor, Cursor}, Source, Shards, Reader) ->
    case warp_subscription_cursor:decode(Source, Cursor) of
        {ok, Places} -> of_cursor(Places, Source, Shards, Reader);
        {error, Why} -> {error, {bad_cursor, Why}}
    end;
marks({marks, Marks}, Source, Shards, Reader) ->
    of_cursor(Marks, Source, Shards, Reader);
marks(From, _Source, Shards, Reader) ->
    each(Shards, fun(N) -> warp_subscription_reader:place(Reader, N, From) end, #{}).

each([], _Place, Marks) ->
    {ok, Marks, []};
each([N | Shards], Place, Marks) ->
    case Place(N) of
        {ok, Mark} -> each(Shards, Place, Marks#{N => Mark});
        {error, _} = Error -> Error
    end.

of_cursor({Life, Seq}, {entity, Id}, [N], Reader) ->
    case warp_subscription_reader:place(Reader, N, now) of
        {ok, {Life, Last, _}} when Seq > Last -> {error, {bad_cursor, {ahead_of_log, N}}};
        {ok, {Life, _, _}} -> {ok, #{N => {Life, Seq, 0}}, []};
        {ok, _} when Life =:= 0 -> {ok, #{N => {0, 0, 0}}, []};
        {ok, _} -> {ok, #{N => {0, 0, 0}}, [Id]};
        {error, _} = Error -> Error
    end;
of_cursor(Marks, _Source, Shards, Reader) ->
    Check = fun(N) ->
        Mark = maps:get(N, Marks, 0),
        Position = case Mark of {Of, _Seq} -> Of; _ -> Mark end,
        case warp_subscription_reader:place(Reader, N, now) of
            {ok, End} when Position > End -> {error, {bad_cursor, {ahead_of_log, N}}};
            {ok, _} -> {ok, Mark};
            %% It begins all the same, and shows that it waits for that node.
            {error, {node_unavailable, _}} -> {ok, Mark};
            {error, _} = Error -> Error
        end
    end,
    each(Shards, Check, #{}).
