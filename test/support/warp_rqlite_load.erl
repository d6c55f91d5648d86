%% A load of appends in a VM that is killed at any moment, with its read model in an rqlite.
-module(warp_rqlite_load).

-export([main/0]).

main() ->
    {Ctx, From} = warp_load_vm:open(),
    [spawn_link(fun() -> loop(Ctx, From + Lane, 4) end) || Lane <- [0, 1, 2, 3]].

loop(Ctx, N, Step) ->
    warp_read_model:append(Ctx, warp_read_model:entity(1 + rand:uniform(20) - 1), N),
    timer:sleep(rand:uniform(3) - 1),
    loop(Ctx, N + Step, Step).
