%% Which member takes which shard over.
-module(warp_cluster_forget_tests).

-include_lib("eunit/include/eunit.hrl").

member(Node, Is) ->
    #{node => Node, member => <<>>, incarnation => 1, start => <<>>, state => Is, version => 1}.

%% What a member says, of four shards.
known(Owners, Records) ->
    #{members => #{a => member(a, up), b => member(b, up), c => member(c, forgetting)},
      owners => Owners, records => Records, generation => 0}.

decided(A, B) -> warp_cluster_forget:decide({3, <<"ballot">>}, [c], #{a => A, b => B}, 4).

own(Epoch) -> #{held => {own, Epoch}, stage => none}.

%% Epochs and positions begin above all of earlier generations.
order() -> {take_over, 3 * (1 bsl 20), 3 * (1 bsl 40), [c]}.

shards_of_others_stay_test() ->
    A = known(#{0 => {1, a}, 1 => {2, b}, 2 => {4, c}, 3 => {1, a}}, #{0 => own(1), 3 => own(1)}),
    %% B is the newer one to know of its own.
    B = known(#{0 => {1, a}, 1 => {2, b}, 2 => {5, b}}, #{1 => own(2), 2 => own(5)}),
    ?assertEqual([], decided(A, B)).

where_nothing_is_left_the_ring_decides_test() ->
    A = known(#{0 => {1, a}, 1 => {2, c}, 3 => {1, a}}, #{0 => own(1), 3 => own(1)}),
    %% Nobody has heard of an owner of shard 2.
    B = known(#{0 => {1, a}, 1 => {2, c}}, #{}),
    ?assertEqual([{1, b, order()}, {2, b, order()}], decided(A, B)).

who_has_a_copy_takes_it_over_test() ->
    Staged = fun(Epoch) -> #{held => none, stage => {staged, Epoch, c, <<>>, <<>>}} end,
    Given = fun(Epoch, IsCleaned) -> #{held => {given, Epoch, c, <<>>, <<>>, IsCleaned}, stage => none} end,
    Others = #{0 => {1, a}, 1 => {1, b}},
    A = known(Others#{2 => {6, c}, 3 => {5, c}}, #{2 => Given(6, false), 3 => Given(5, true)}),
    B = known(Others#{2 => {6, c}, 3 => {5, c}}, #{2 => Staged(7), 3 => Staged(6)}),
    ?assertEqual([{2, b, order()}, {3, b, order()}], decided(A, B)),
    ?assertEqual([{2, a, order()}, {3, b, order()}], decided(A, B#{records := #{}})).

%% A copy of what another living member has is none that counts.
what_comes_by_itself_is_left_alone_test() ->
    Owners = #{0 => {1, a}, 1 => {1, b}, 2 => {5, c}, 3 => {7, b}},
    Taken = #{held => none, stage => {taken, 6, c, <<>>, <<>>}},
    Begun = #{held => none, stage => {empty, 1 bsl 20, 77}},
    A = known(Owners, #{2 => Taken}),
    B = known(Owners, #{3 => #{held => none, stage => {staged, 7, a, <<>>, <<>>}}}),
    ?assertEqual([], decided(A, B)),
    ?assertEqual([], decided(A#{records := #{2 => Begun}}, B)).

also_where_all_others_leave_test() ->
    Leaving = #{a => member(a, leaving), c => member(c, forgetting)},
    A = (known(#{0 => {1, a}}, #{}))#{members := Leaving},
    ?assertMatch([{0, a, _}], warp_cluster_forget:decide({1, <<>>}, [c], #{a => A#{owners := #{}}}, 1)).
