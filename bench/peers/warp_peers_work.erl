%% The work that is compared: for each kind some cases, each with what is stored before, what is done, and who does it.
-module(warp_peers_work).

-export([names/0, cases/2, title/1]).
-export_type([work_case/0]).

-type work_case() :: #{work := string(), 'case' := string(), unit := warp_peers_figures:unit(),
                       store := warp_peer:store(), op := fun((Round :: pos_integer()) -> warp_peer:op()),
                       subjects := [warp_peer:subject()], chart := boolean()}.

-define(SHARDS, [1, 4, 16, 64]).
%% Beside the entities that are read and deleted, which have as many each.
-define(EACH, 10000).
-define(COLD, 500000).

-spec names() -> [string()].
names() ->
    %% Growth adds to the store that the one before it looks at.
    ["singles", "batches", "transfers", "mix", "cold", "delete", "stored", "growth"].

-spec title(string()) -> string().
title("singles") -> "Events appended one by one, over 10,000 entities";
title("batches") -> "Events in batches of 500, over 10,000 entities";
title("transfers") -> "Transfers over 1,000 accounts";
title("mix") -> "80% reads of a state, 20% appends, Zipf over 10,000 entities";
title("cold") -> "First read of an entity with 10,000 events after a start";
title("delete") -> "Deletion of an entity with 10,000 events";
title("growth") -> "Singles with 256 callers and batches with 16, on little and on much";
title("stored") -> "A store with many events".

%% The cases of one kind of work. The subject that all others are compared with is the first one.
-spec cases(string(), map()) -> [work_case()].
cases(Work, #{peers := Peers, shards := Shards, events := Events, stored := Stored, rounds := Rounds}) ->
    Warp = {warp, Shards},
    Others = [Peer || Peer <- Peers, Peer =/= warp],
    %% The limit of the disk is known for what only writes.
    Subjects = [Warp | lists:delete(limit, Others)],
    Full = {filled, Stored, 500},
    Made = case Work of
        "singles" ->
            All = [Warp] ++ [{warp, N} || N <- ?SHARDS, N =/= Shards] ++ Others,
            [rate(callers(N), empty, {singles, N}, All, N =/= 16) || N <- [1, 16, 256, 1000]];
        "batches" ->
            All = [Warp, {warp_log, Shards} | Others],
            [rate(callers(N), empty, {batches, N}, All, N =:= 16) || N <- [1, 16, 64]];
        "transfers" ->
            [rate(callers(N), empty, {transfers, N}, [Warp | Others], N =/= 1) || N <- [1, 16, 256]];
        "mix" ->
            [rate(callers(N), empty, {mix, N}, Subjects, N =:= 256) || N <- [16, 256]];
        "cold" ->
            [once("10,000 events", {victims, ?COLD, ?EACH, Rounds}, read, Subjects)];
        "delete" ->
            [once("among " ++ count(Events), {victims, Events, ?EACH, Rounds}, delete, Subjects)];
        "growth" ->
            [rate([Name, ", ", Stands], Store, Op, Subjects, false)
             || {Name, Op} <- [{"singles", {singles, 256}}, {"batches", {batches, 16}}],
                {Stands, Store} <- [{"empty", empty}, {count(Stored), Full}]];
        "stored" ->
            [whole("start", ms, Full, start, Subjects),
             whole("disk for each", bytes, Full, bytes, Subjects),
             whole("memory after start", bytes, Full, memory, Subjects)]
    end,
    [Case#{work => Work, 'case' := lists:flatten(Name), subjects := may(Case, Peers)}
     || #{'case' := Name} = Case <- Made].

may(#{subjects := Subjects}, Peers) ->
    [Subject || Subject <- Subjects, is_atom(Subject) orelse lists:member(warp, Peers)].

rate(Name, Store, Op, Subjects, Chart) ->
    #{'case' => Name, unit => per_second, store => Store, op => fun(_) -> Op end, subjects => Subjects, chart => Chart}.

%% Each round has an entity of its own, since the one before has read or deleted its.
once(Name, Store, Kind, Subjects) ->
    #{'case' => Name, unit => ms, store => Store, op => fun(Round) -> {Kind, Round} end, subjects => Subjects,
      chart => false}.

whole(Name, Unit, Store, Op, Subjects) ->
    #{'case' => Name, unit => Unit, store => Store, op => fun(_) -> Op end, subjects => Subjects, chart => false}.

callers(1) -> "1 caller";
callers(N) -> count(N) ++ " callers".

count(N) when N >= 1000000, N rem 1000000 =:= 0 -> integer_to_list(N div 1000000) ++ " M";
count(N) when N >= 1000 -> lists:flatten(io_lib:format("~b,~3..0b", [N div 1000, N rem 1000]));
count(N) -> integer_to_list(N).
