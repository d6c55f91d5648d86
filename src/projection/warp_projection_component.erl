%% @private The projection of a context, as a component. It has no processes when nothing is projected.
-module(warp_projection_component).
-behaviour(warp_component).

-export([options/0, new/1, files/1, children/2, await_started/1, stats/1]).

%% The projection's file and the notes of deletions, with readers of both.
-define(FILES, 16).

-spec options() -> [warp_check:option()].
options() ->
    [{projections, none, fun warp_projection_options:check/1}].

-spec new(warp_component:settings()) -> #{projections := warp_projection_options:settings()}.
new(Settings) ->
    maps:with([projections], Settings).

-spec files(warp_component:settings()) -> non_neg_integer().
files(#{projections := none}) -> 0;
files(#{projections := _}) -> ?FILES.

-spec children(reference(), warp_component:settings()) -> [supervisor:child_spec()].
children(_Ref, #{projections := none}) ->
    [];
children(Ref, #{projections := _}) ->
    [#{id => projection, start => {warp_projection_sup, start_link, [Ref]}, type => supervisor,
       shutdown => infinity}].

%% @doc A target that is unreachable is no reason not to start; one that is not ours is.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(#{projections := none, dir := Dir}) ->
    warp_projection_notes:was_projected(Dir);
await_started(Context) ->
    Parts = [{warp_projection_writer, writer}, {warp_projection_eraser, eraser}],
    Each = [Module:status(Pid) || {Module, Part} <- Parts,
                                  {ok, Pid} <- [warp_projection_table:get(Context, Part)]],
    case [Error || {error, _} = Error <- Each] of
        [] -> ok;
        [Error | _] -> Error
    end.

-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(#{projections := none}) -> #{};
stats(Context) -> #{projections => warp_projection_stats:context(Context)}.
