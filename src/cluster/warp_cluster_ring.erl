%% @private On which node each shard should be. Pure: the result follows from the arguments alone, whatever their
%% order, and is the same on each node, machine and release of OTP.
%%
%% Each member gets floor or ceil of Shards / Members. A shard stays where it is, unless its owner takes part no more
%% or has too many. So a member that joins gets its share and nothing else moves, and only the shards of a member that
%% leaves move. The plan stays the same while its moves are done, in any order: what was moved is where it should be,
%% and the rest is planned as before. A hand-off under way is therefore never planned otherwise because another one
%% ended.
%%
%% Where there is a choice, the MD5 of a member's name and a shard's number decides, as in rendezvous hashing: a member
%% that has too many shards gives those with the lowest hashes, and a shard without a place goes to the member with
%% the highest hash of those that have room.
-module(warp_cluster_ring).

-export([plan/3, moves/3]).

-export_type([member/0, owners/0]).

%% The name of a node. An atom and a binary with the same text are the same member.
-type member() :: atom() | binary().
-type owners() :: #{Shard :: non_neg_integer() => member()}.

%% @doc On which of the members each of the shards `0..Shards - 1' should be. `Members' are those that take part, which
%% a member that leaves does not. `Owners' says where each shard is now, also on a member that leaves; a shard that is
%% not in it has no owner yet. Shards that do not exist are passed over. Without members nothing is planned: `#{}'.
-spec plan(Members :: [member()], owners(), Shards :: pos_integer()) -> owners().
plan([], _Owners, _Shards) ->
    #{};
plan(Members, Owners, Shards) ->
    ByName = by_name(Members),
    Held = held(ByName, Owners, Shards),
    Quotas = quotas(ByName, Held, Shards),
    Kept = maps:from_list([{N, Member} || {Member, Quota} <- Quotas, N <- kept(Member, Quota, maps:get(Member, Held))]),
    Room = [{Member, Quota - length(maps:get(Member, Held))} || {Member, Quota} <- Quotas],
    Homeless = [N || N <- lists:seq(0, Shards - 1), not is_map_key(N, Kept)],
    place(lists:sort([{hash(<<>>, N), N} || N <- Homeless]), [{M, Free} || {M, Free} <- Room, Free > 0], Kept).

%% @doc The hand-offs that lead from where the shards are to where they should be, by shard. A shard without an owner
%% is in none, since nobody can give it.
-spec moves(Members :: [member()], owners(), Shards :: pos_integer()) ->
    [{Shard :: non_neg_integer(), From :: member(), To :: member()}].
moves(Members, Owners, Shards) ->
    [{N, From, To} || {N, To} <- lists:sort(maps:to_list(plan(Members, Owners, Shards))),
                      {ok, From} <- [maps:find(N, Owners)], name(From) =/= name(To)].

%% ------------------------------------------------------------------ How many each member should have

by_name(Members) ->
    [Member || {_, Member} <- lists:ukeysort(1, [{name(Member), Member} || Member <- Members])].

%% The shards that each member has.
held(Members, Owners, Shards) ->
    ByName = maps:from_list([{name(Member), Member} || Member <- Members]),
    Pairs = [{maps:get(name(Owner), ByName), N} || {N, Owner} <- maps:to_list(Owners), N >= 0, N < Shards,
                                                   is_map_key(name(Owner), ByName)],
    lists:foldl(fun({Member, N}, Held) -> maps:update_with(Member, fun(Ns) -> [N | Ns] end, Held) end,
                maps:from_list([{Member, []} || Member <- Members]), Pairs).

%% Members that have more than floor keep one more than others, as long as there are some to keep: that saves a move of
%% each. The others follow by name. It is those members still that come first when some of the moves are done.
quotas(Members, Held, Shards) ->
    Floor = Shards div length(Members),
    {Above, Others} = lists:partition(fun(Member) -> length(maps:get(Member, Held)) > Floor end, Members),
    {More, Less} = lists:split(Shards rem length(Members), Above ++ Others),
    [{Member, Floor + 1} || Member <- More] ++ [{Member, Floor} || Member <- Less].

%% ------------------------------------------------------------------ Which shards stay, and where the others go

kept(Member, Quota, Ns) ->
    [N || {_, N} <- lists:nthtail(max(0, length(Ns) - Quota), lists:sort([{hash(name(Member), N), N} || N <- Ns]))].

%% Shards take their turn in an order that does not depend on where they are: so those behind one that was moved
%% already find the same room as with it.
place([], _Room, Plan) ->
    Plan;
place([{_, N} | Rest], Room, Plan) ->
    {_, Member} = lists:max([{hash(name(Member), N), Member} || {Member, _} <- Room]),
    Left = case lists:keyfind(Member, 1, Room) of
               {_, 1} -> lists:keydelete(Member, 1, Room);
               {_, Free} -> lists:keyreplace(Member, 1, Room, {Member, Free - 1})
           end,
    place(Rest, Left, Plan#{N => Member}).

hash(Name, N) -> erlang:md5(<<N:32, Name/binary>>).

name(Member) when is_atom(Member) -> atom_to_binary(Member);
name(Member) when is_binary(Member) -> Member.
