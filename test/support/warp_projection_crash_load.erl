%% Appends, deletions and rebuilds in a VM that is killed at any moment.
-module(warp_projection_crash_load).

-export([main/0]).

main() ->
    {Ctx, From} = warp_load_vm:open(),
    _ = [spawn_link(fun() -> append_on(Ctx, From + Lane) end) || Lane <- lists:seq(0, 7)],
    spawn_link(fun() -> delete_on(Ctx) end),
    spawn_link(fun() -> rebuild_on(Ctx) end).

append_on(Ctx, N) ->
    warp_read_model:append(Ctx, warp_read_model:entity(rand:uniform(20)), N),
    append_on(Ctx, N + 8).

delete_on(Ctx) ->
    timer:sleep(rand:uniform(40)),
    ok = warp_core:delete(warp_core:entity(Ctx, warp_read_model:entity(rand:uniform(20)))),
    delete_on(Ctx).

rebuild_on(Ctx) ->
    timer:sleep(rand:uniform(300)),
    ok = warp_projection:rebuild(Ctx),
    _ = warp_projection:await_rebuild(Ctx, infinity),
    rebuild_on(Ctx).
