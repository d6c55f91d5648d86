%% @private Begins a subscription: finds out where in the log it begins, and starts its process.
-module(warp_subscription_start).

-export([start/5]).

%% @doc Starts the process of a subscription of the calling process. Errors: those of `warp_subscription:subscribe/2'.
-spec start(warp_context:context(), warp_subscription_cursor:source(), [non_neg_integer()], map(),
            warp_deadline:deadline()) -> {ok, pid()} | {error, term()}.
start(Context, Source, Shards, #{from := From, credit := Credit} = Options, Deadline) ->
    Filter = warp_subscription_filter:new(Source, Options),
    Reader = warp_subscription_reader:new(Context, Filter),
    case warp_entity_call:aside(fun() -> marks(From, Source, Shards, Reader) end, Deadline) of
        {ok, Marks, Erased} ->
            Settings = #{source => Source, credit => Credit, marks => Marks, erased => Erased},
            warp_subscription_sup:start_subscription(Context, {self(), Filter, Settings}, Deadline);
        {error, _} = Error ->
            Error
    end.

%% By shard, where it begins; and entities that were erased since.
marks({cursor, Cursor}, Source, Shards, Reader) ->
    case warp_subscription_cursor:decode(Source, Cursor) of
        {ok, Places} -> of_cursor(Places, Source, Shards, Reader);
        {error, Why} -> {error, {bad_cursor, Why}}
    end;
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
            {error, _} = Error -> Error
        end
    end,
    each(Shards, Check, #{}).
