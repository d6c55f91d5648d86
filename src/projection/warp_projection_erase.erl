%% @private Erases a deleted entity from the projection: the projectors of its shard forget what they read of
%% it, and then the writer erases its rows, after everything that was handed to the writer before. So a
%% projector that is behind cannot bring rows back.
-module(warp_projection_erase).

-export([rows/2, done/2]).

-define(RETRY, {500, infinity}).

%% @doc Erases the rows of an entity whose log is erased. Waits for as long as the target is unreachable.
-spec rows(warp_context:context(), warp_component:deletion()) -> ok.
rows(#{projections := #{target := Target}} = Context, #{entity := Id, shard := N, left := Left}) ->
    ok = Left(#{target => Target, projections => warp_projection_table:tables(Context), reason => a_projector_is_busy}),
    lists:foreach(fun(Pid) -> ok = warp_projection_projector:flush(Pid, Id) end,
                  warp_projection_table:projectors_of(Context, N)),
    ok = Left(#{reason => no_answer}),
    erase(Context, {Id, N}, Left).

erase(Context, Entity, Left) ->
    ok = warp_retry:while(fun(Result) -> Result =:= no_writer end, ?RETRY, infinity,
                          fun() -> erase_once(Context, Entity, Left) end).

erase_once(Context, {Id, N}, Left) ->
    Epoch = warp_projection_table:epoch(Context, N),
    case warp_projection_table:process(Context, writer) of
        {ok, Writer} ->
            Tag = erlang:monitor(process, Writer),
            ok = warp_projection_writer:erase(Writer, Tag, {Id, N, Epoch}),
            erasing(Tag, Left);
        none ->
            no_writer
    end.

erasing(Tag, Left) ->
    receive
        {warp_erased, Tag} ->
            true = erlang:demonitor(Tag, [flush]),
            ok;
        %% The shard was on another node since, and may be here again.
        {warp_not_erased, Tag, old_epoch} ->
            true = erlang:demonitor(Tag, [flush]),
            no_writer;
        {warp_not_erased, Tag, Reason} ->
            ok = Left(#{reason => Reason}),
            erasing(Tag, Left);
        {'DOWN', Tag, process, _, _} ->
            no_writer
    end.

%% @doc The deletion is done: projectors that it held go on.
-spec done(warp_context:context(), warp_component:deletion()) -> ok.
done(Context, #{shard := N}) ->
    lists:foreach(fun warp_projection_projector:prod/1, warp_projection_table:projectors_of(Context, N)).
