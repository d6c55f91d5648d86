%% A model of nodes that hand one shard to each other: what each has on disk, the processes around the pure hand-off of
%% each, and a network. A file is the list of the numbers that were appended, the last one first.
%%
%% Each effect that takes time is carried out in two steps, so that a node can end, or something else can happen, before
%% it, behind it, and before its answer is taken.
-module(warp_cluster_model).

-export([new/2, actions/1, do/2, problems/1, heal/1, forget/2]).

-export_type([model/0, action/0]).

-type model() :: map().
-type action() :: tuple().

-define(SERVED_IN, [offered, freezing, frozen, committing, given]).

%% The first node has the shard. `Budget' says how often each kind of thing may happen; what it does not name may happen
%% any number of times. With `search => true' there are fewer states that do not differ in anything that matters: a
%% message that was sent can be delivered again for ever, a timer to do something again is always due, and a node that
%% ends starts at once.
new([First | _] = Names, Budget) ->
    Fresh = #{up => true, handoff => none, record => warp_cluster_record:new(joiner), open => no, file => none,
              stage => none, pending => [], timers => #{}},
    Nodes = maps:from_list([{Name, Fresh} || Name <- Names]),
    Begun = Nodes#{First := Fresh#{record := warp_cluster_record:new(creator), file := []}},
    Model = #{nodes => Begun, net => [], cut => [], acked => [], attempts => 0, now => 0, problems => [],
              lost => no, budget => Budget},
    lists:foldl(fun boot/2, Model, Names).

boot(Name, Model) ->
    started(Name, put_node(Name, (node_of(Name, Model))#{up := true}, Model)).

started(Name, Model) ->
    #{record := Record} = node_of(Name, Model),
    taken(Name, warp_cluster_handoff:start(Record), Model).

input(Name, Input, Model) ->
    #{handoff := Handoff} = node_of(Name, Model),
    taken(Name, warp_cluster_handoff:input(Input, Handoff), Model).

taken(Name, {Effects, Handoff}, Model) ->
    lists:foldl(fun(Effect, Acc) -> effect(Effect, Name, Acc) end,
                put_node(Name, (node_of(Name, Model))#{handoff := Handoff}, Model), Effects).

node_of(Name, #{nodes := Nodes}) -> maps:get(Name, Nodes).

put_node(Name, Node, #{nodes := Nodes} = Model) -> Model#{nodes := Nodes#{Name := Node}}.

problem(What, #{problems := Problems} = Model) -> Model#{problems := [What | Problems]}.

%% ------------------------------------------------------------------ Effects

effect({send, To, Message}, Name, #{net := Net} = Model) ->
    Model#{net := ordsets:add_element({Name, To, Message}, Net)};
effect({serve, _}, Name, Model) ->
    opened(Name, Model);
effect({unfreeze, Attempt}, Name, Model) ->
    opened(Name, unpend({freeze, Attempt}, Name, Model));
effect({freeze, _} = Freeze, Name, Model) ->
    Node = node_of(Name, Model),
    pend(Freeze, Name, put_node(Name, Node#{open := freezing}, Model));
effect({stop, Attempt}, Name, Model) ->
    #{pending := Pending} = Node = node_of(Name, Model),
    put_node(Name, Node#{pending := [Op || Op <- Pending, not is_copying(Attempt, Op)]}, Model);
effect({seal, From, Attempt, _, _} = Seal, Name, Model) ->
    pend(Seal, Name, unpend({copy, From, Attempt}, Name, Model));
effect(discard, Name, Model) ->
    put_node(Name, (node_of(Name, Model))#{stage := none}, Model);
effect({timer, Millis, Tag}, Name, #{now := Now} = Model) ->
    #{timers := Timers} = Node = node_of(Name, Model),
    case is_search(Model) andalso is_periodic(Tag) of
        true -> Model;
        false -> put_node(Name, Node#{timers := Timers#{Tag => Now + Millis}}, Model)
    end;
effect({alarm, {Kind, injected}}, _Name, Model) when Kind =:= not_written; Kind =:= not_cleaned; Kind =:= not_adopted ->
    Model;
effect({alarm, {Kind, _}}, _Name, #{lost := Lost} = Model) when Kind =:= not_staged, Lost =/= no ->
    Model;
effect({alarm, Why}, _Name, #{lost := Lost} = Model) when Lost =/= no, element(1, Why) =:= lost;
                                                          Lost =/= no, Why =:= {not_adopted, nothing_to_adopt} ->
    Model#{lost := loudly};
effect({alarm, _} = Alarm, Name, Model) ->
    problem({Name, Alarm}, Model);
effect(Said, _Name, Model) when element(1, Said) =:= ended; element(1, Said) =:= moved ->
    Model;
effect(clean, Name, Model) ->
    pend({clean}, Name, Model);
effect(Takes, Name, Model) ->
    pend(Takes, Name, Model).

is_copying(Attempt, {copy, _, Attempt}) -> true;
is_copying(Attempt, {seal, _, Attempt, _, _}) -> true;
is_copying(Attempt, {answer, {Kind, Attempt, _}}) -> Kind =:= copied orelse Kind =:= sealed;
is_copying(_Attempt, _Op) -> false.

pend(Op, Name, Model) ->
    #{pending := Pending} = Node = node_of(Name, Model),
    put_node(Name, Node#{pending := ordsets:add_element(Op, Pending)}, Model).

unpend(Op, Name, Model) ->
    #{pending := Pending} = Node = node_of(Name, Model),
    put_node(Name, Node#{pending := ordsets:del_element(Op, Pending)}, Model).

opened(Name, Model) ->
    case node_of(Name, Model) of
        #{file := none} -> problem({Name, serves_without_a_file}, Model);
        Node -> put_node(Name, Node#{open := yes}, Model)
    end.

%% ------------------------------------------------------------------ What can happen

%% All that can happen next.
actions(#{nodes := Nodes, net := Net} = Model) ->
    lists:append([of_node(Name, Node, Model) || {Name, Node} <- lists:sort(maps:to_list(Nodes))])
        ++ [{Kind, Each} || Each <- Net, Kind <- [deliver, double, drop], may(Kind, Model)]
        ++ [Cut || {Kind, _, _} = Cut <- cuts(Model), may(Kind, Model)].

cuts(#{nodes := Nodes, cut := Cut}) ->
    Names = lists:sort(maps:keys(Nodes)),
    [case lists:member({A, B}, Cut) of true -> {join, A, B}; false -> {part, A, B} end
     || A <- Names, B <- Names, A < B].

of_node(Name, #{up := false}, _Model) ->
    [{restart, Name}];
of_node(Name, Node, #{nodes := Nodes} = Model) ->
    #{pending := Pending, open := Open, stage := Stage, handoff := Handoff} = Node,
    {Phase, _} = warp_cluster_handoff:info(Handoff),
    [{done, Name, Op} || Op <- Pending]
        ++ [{Kind, Name, Op} || Kind <- [fail, lie], may(Kind, Model), Op <- Pending,
                                not lists:member(element(1, Op), [answer, check])]
        ++ [{Kind, Name, Tag} || Tag <- timers(Node, Model),
                                 Kind <- [case Tag of {again, _, _} -> timer; _ -> late end], may(Kind, Model)]
        ++ [{Kind, Name} || Kind <- [crash, reboot], may(Kind, Model)]
        ++ [{lose, Name} || Stage =/= none, may(lose, Model)]
        ++ [{append, Name} || Open =/= no, may(append, Model)]
        ++ [{cancel, Name} || Phase =/= serving, Phase =/= idle, may(cancel, Model)]
        ++ [{give, Name, To} || Phase =:= serving, may(give, Model), To <- lists:sort(maps:keys(Nodes)), To =/= Name].

timers(#{timers := Timers, handoff := Handoff}, Model) ->
    Tags = lists:sort(maps:keys(Timers)),
    case warp_cluster_handoff:info(Handoff) of
        {Phase, {_, _, Attempt}} ->
            [Tag || Tag <- [{again, Phase, Attempt}], is_search(Model), is_periodic(Tag)] ++ Tags;
        _ ->
            Tags
    end.

is_periodic({again, Phase, _}) -> lists:member(Phase, [offered, frozen, given, staged, unsure]);
is_periodic(_) -> false.

is_search(#{budget := Budget}) -> is_map_key(search, Budget).

may(Kind, #{budget := Budget}) -> maps:get(Kind, Budget, 1) > 0.

spent(Kind, #{budget := Budget} = Model) ->
    case Budget of
        #{Kind := Left} when is_integer(Left) -> Model#{budget := Budget#{Kind := Left - 1}};
        #{} -> Model
    end.

%% Does one thing, and looks whether all is as it has to be.
do(Action, Model) ->
    check(did(Action, spent(element(1, Action), Model))).

did({deliver, Each}, #{net := Net} = Model) -> delivered(Each, Model#{net := ordsets:del_element(Each, Net)}, Model);
did({double, Each}, Model) -> delivered(Each, Model, Model);
did({drop, Each}, #{net := Net} = Model) -> Model#{net := ordsets:del_element(Each, Net)};
did({part, A, B}, #{cut := Cut} = Model) -> Model#{cut := ordsets:add_element({A, B}, Cut)};
did({join, A, B}, #{cut := Cut} = Model) -> Model#{cut := ordsets:del_element({A, B}, Cut)};
did({restart, Name}, Model) -> boot(Name, Model);
did({reboot, Name}, Model) -> boot(Name, did({crash, Name}, Model));
did({crash, Name}, Model) ->
    Node = node_of(Name, Model),
    put_node(Name, Node#{up := false, handoff := none, open := no, pending := [], timers := #{}}, Model);
did({lose, Name}, Model) ->
    put_node(Name, (node_of(Name, Model))#{stage := none}, Model#{lost := silently});
did({Kind, Name, Tag}, Model) when Kind =:= timer; Kind =:= late ->
    #{timers := Timers} = Node = node_of(Name, Model),
    input(Name, {timer, Tag}, put_node(Name, Node#{timers := maps:remove(Tag, Timers)}, Model));
did({cancel, Name}, Model) -> input(Name, cancel, Model);
did({give, Name, To}, #{attempts := Attempts} = Model) ->
    input(Name, {give, To, <<(Attempts + 1)>>}, Model#{attempts := Attempts + 1});
did({append, Name}, #{acked := Acked} = Model) ->
    #{file := File} = Node = node_of(Name, Model),
    Number = length(Acked) + 1,
    put_node(Name, Node#{file := [Number | File]}, Model#{acked := [Number | Acked]});
did({done, Name, {answer, Input} = Op}, Model) ->
    input(Name, Input, unpend(Op, Name, Model));
did({done, Name, Op}, Model) ->
    {Answer, Done} = carry_out(Op, Name, unpend(Op, Name, Model)),
    pend({answer, Answer}, Name, Done);
did({fail, Name, Op}, Model) ->
    pend({answer, failure(Op)}, Name, unpend(Op, Name, Model));
%% It was done, though the answer is an error.
did({lie, Name, Op}, Model) ->
    {_, Done} = carry_out(Op, Name, Model),
    did({fail, Name, Op}, Done).

failure({write, _}) -> {written, {error, injected}};
failure({clean}) -> {cleaned, {error, injected}};
failure({verify, _}) -> {verified, {error, injected}};
failure({freeze, Attempt}) -> {closed, Attempt, {error, injected}};
failure({copy, _, Attempt}) -> {copied, Attempt, {error, injected}};
failure({seal, _, Attempt, _, _}) -> {sealed, Attempt, {error, injected}};
failure({check, Attempt, _}) -> {checked, Attempt, {error, injected}};
failure({adopt, Attempt, _}) -> {adopted, Attempt, {error, injected}}.

delivered({From, To, Message}, Next, Model) ->
    case {node_of(To, Model), is_together(From, To, Model)} of
        {#{up := true}, true} -> input(To, {message, From, Message}, Next);
        _ -> Model
    end.

is_together(A, B, #{cut := Cut}) -> not lists:member({min(A, B), max(A, B)}, Cut).

%% ------------------------------------------------------------------ What takes time

carry_out({write, Record}, Name, Model) ->
    {{written, ok}, put_node(Name, (node_of(Name, Model))#{record := Record}, Model)};
carry_out({freeze, Attempt}, Name, Model) ->
    #{file := File} = Node = node_of(Name, Model),
    {{closed, Attempt, {ok, digest(File), extras(File)}}, put_node(Name, Node#{open := no}, Model)};
carry_out({clean}, Name, #{nodes := Nodes} = Model) ->
    #{record := #{held := {given, Epoch, To, _, _, _}}} = Node = node_of(Name, Model),
    Cleaned = put_node(Name, Node#{file := none}, Model),
    #{To := #{record := #{held := Held}}} = Nodes,
    %% What a lost node had recorded nobody knows.
    Owned = maps:get(gone, Model, none) =:= To orelse warp_cluster_record:epoch(Held) >= Epoch,
    {{cleaned, ok}, case Owned of
                        true -> Cleaned;
                        false -> problem({Name, cleans_what, To, does_not_own}, Cleaned)
                    end};
carry_out({verify, Digest}, Name, Model) ->
    #{file := File} = node_of(Name, Model),
    {{verified, case digest(File) of Digest -> ok; _ -> {error, not_whole} end}, Model};
carry_out({create, _Position}, Name, Model) ->
    {{created, ok}, put_node(Name, (node_of(Name, Model))#{file := [], stage := none}, Model#{acked := []})};
carry_out({copy, From, Attempt}, Name, Model) ->
    case served(From, Name, Attempt, Model) of
        {ok, File} ->
            {{copied, Attempt, ok}, put_node(Name, (node_of(Name, Model))#{stage := {File, none}}, Model)};
        error ->
            {{copied, Attempt, {error, over}}, Model}
    end;
carry_out({seal, From, Attempt, Digest, Extras}, Name, Model) ->
    case served(From, Name, Attempt, Model) of
        {ok, File} ->
            Sealed = case digest(File) of Digest -> ok; _ -> {error, other_digest} end,
            {{sealed, Attempt, Sealed}, put_node(Name, (node_of(Name, Model))#{stage := {File, Extras}}, Model)};
        error ->
            {{sealed, Attempt, {error, over}}, Model}
    end;
carry_out({check, Attempt, Digest}, Name, Model) ->
    {{checked, Attempt, is_staged(Digest, node_of(Name, Model))}, Model};
carry_out({adopt, Attempt, Digest}, Name, Model) ->
    case node_of(Name, Model) of
        #{stage := {File, _}, file := none} = Node ->
            case is_staged(Digest, Node) of
                ok -> {{adopted, Attempt, ok}, put_node(Name, Node#{stage := none, file := File}, Model)};
                Error -> {{adopted, Attempt, Error}, Model}
            end;
        %% It was adopted before a crash.
        #{stage := none, file := File} when File =/= none ->
            {{adopted, Attempt, ok}, Model};
        #{} ->
            {{adopted, Attempt, {error, nothing_to_adopt}}, Model}
    end.

%% The pages of the giver's file as it is now, for whom and as long as it serves them.
served(From, To, Attempt, Model) ->
    case {node_of(From, Model), is_together(From, To, Model)} of
        {#{up := true, handoff := Handoff, file := File}, true} ->
            case warp_cluster_handoff:info(Handoff) of
                {Phase, {_, To, Attempt}} ->
                    case lists:member(Phase, ?SERVED_IN) of true -> {ok, File}; false -> error end;
                _ ->
                    error
            end;
        _ ->
            error
    end.

is_staged(Digest, #{stage := {File, Extras}}) ->
    case {digest(File), extras(File)} of
        {Digest, Extras} -> ok;
        _ -> {error, other_digest}
    end;
is_staged(_Digest, #{stage := none}) ->
    {error, no_stage}.

digest(File) -> term_to_binary(File).

extras(File) -> {extras, length(File)}.

%% ------------------------------------------------------------------ What has to be right, always

check(#{nodes := Nodes, acked := Acked, lost := Lost} = Model) ->
    Each = maps:to_list(Nodes),
    Open = [Name || {Name, #{open := Open}} <- Each, Open =/= no],
    Owners = [Name || {Name, #{record := #{held := {own, _}}}} <- Each],
    Wrong = [{Name, serves, File, acknowledged, Acked} || {Name, #{open := Is, file := File}} <- Each, Is =/= no,
                                                         File =/= Acked],
    Whole = [Name || {Name, Node} <- Each, has_all(Acked, Node)],
    lists:foldl(fun problem/2, Model,
                [{several_serve, Open} || length(Open) > 1] ++ [{several_own, Owners} || length(Owners) > 1]
                ++ Wrong ++ [nobody_has_all || Whole =:= [], Lost =:= no]).

has_all(Acked, #{file := Acked}) -> true;
has_all(Acked, #{stage := {Acked, _}, record := #{stage := Record}}) -> Record =/= none;
has_all(_Acked, _Node) -> false.

problems(#{problems := Problems}) -> Problems.

%% ------------------------------------------------------------------ In the end

%% The network is whole, all nodes run, and what has to happen happens, until all are at rest; and what is wrong then.
heal(#{nodes := Nodes} = Model) ->
    Names = maps:keys(Nodes) -- [maps:get(gone, Model, none)],
    Up = lists:foldl(fun(Name, Acc) ->
                         case node_of(Name, Acc) of #{up := false} -> do({restart, Name}, Acc); _ -> Acc end
                     end, Model#{cut := [], budget := #{}}, Names),
    Timed = lists:foldl(fun(Name, Acc) ->
                            #{timers := Timers} = Node = node_of(Name, Acc),
                            Due = maps:from_list([{Tag, 0} || Tag <- timers(Node, Model)]),
                            put_node(Name, Node#{timers := maps:merge(Due, Timers)}, Acc)
                        end, Up, Names),
    at_rest(rest(Timed, 3000)).

rest(#{lost := Lost} = Model, Left) when Lost =/= no, Left < 2500 ->
    Model;
rest(Model, 0) ->
    problem({no_rest, maps:get(net, Model)}, Model);
rest(#{problems := [_ | _]} = Model, _) ->
    Model;
rest(Model0, Left) ->
    #{nodes := Nodes, net := Net, now := Now} = Model = told_owner(Model0),
    Names = lists:sort(maps:keys(Nodes)),
    Ops = [{done, Name, hd(Pending)} || Name <- Names, #{pending := [_ | _] = Pending} <- [node_of(Name, Model)]],
    Timers = lists:sort([{Due, Name, Tag} || Name <- Names,
                                             {Tag, Due} <- maps:to_list(maps:get(timers, node_of(Name, Model)))]),
    case {Ops, Net, Timers} of
        {[Op | _], _, _} -> rest(do(Op, Model), Left - 1);
        {[], [Each | _], _} -> rest(do({deliver, Each}, Model), Left - 1);
        {[], [], [{Due, Name, Tag} | _]} -> rest(do({timer, Name, Tag}, Model#{now := max(Now, Due)}), Left - 1);
        {[], [], []} -> Model
    end.

%% When a stage was lost that was given, the shard stands still, and somebody said so.
at_rest(#{nodes := All, lost := Lost} = Model) ->
    Nodes = maps:remove(maps:get(gone, Model, none), All),
    Each = maps:to_list(Nodes),
    Open = [Name || {Name, #{open := Open}} <- Each, Open =/= no],
    Owners = [Name || {Name, #{open := yes, stage := none, record := #{held := {own, _}, stage := none},
                               handoff := Handoff}} <- Each,
                      warp_cluster_handoff:info(Handoff) =:= {serving, none}],
    Others = [Name || {Name, #{open := no, file := none, stage := none, record := #{stage := none},
                               handoff := Handoff}} <- Each,
                      warp_cluster_handoff:info(Handoff) =:= {idle, none}],
    case {length(Owners), length(Owners ++ Others)} of
        {1, Count} when Count =:= map_size(Nodes) -> Model;
        _ when Lost =:= loudly, Open =:= [] -> Model;
        _ -> problem(not_at_rest, Model)
    end.

%% ------------------------------------------------------------------ A node that is lost for good

%% All other nodes run, the node is forgotten, and one of them takes the shard over; what was acknowledged is there
%% still if one of them had all of it. The model before anything else happens.
forget(Gone, #{nodes := Nodes, net := Net, budget := Budget} = Model0) ->
    Others = maps:keys(Nodes) -- [Gone],
    Lost = (node_of(Gone, did({crash, Gone}, Model0)))#{record := warp_cluster_record:new(joiner), file := none,
                                                        stage := none},
    Model = lists:foldl(fun(Name, Acc) ->
                            case node_of(Name, Acc) of #{up := false} -> boot(Name, Acc); _ -> Acc end
                        end, put_node(Gone, Lost, Model0#{gone => Gone, cut := [], lost := silently, budget := #{},
                                                          net := [Each || {From, To, _} = Each <- Net,
                                                                          From =/= Gone, To =/= Gone]}), Others),
    Written = lists:foldl(fun written/2, Model, Others),
    Epochs = [Epoch || Name <- Others,
                       {ok, Epoch} <- [warp_cluster_record:left_of([Gone], maps:get(record, node_of(Name, Written)))]],
    %% Of two copies for the same epoch nobody knows which is the newer one.
    Had = case lists:reverse(lists:sort(Epochs)) of
              [Same, Same | _] -> [];
              _ -> [Name || Name <- Others, had_all(Name, Gone, Written)]
          end,
    ordered(decided(Others, Gone, Written), 100, Written#{had => Had, budget := Budget}).

%% Nobody says yes while it writes a record.
written(Name, Model) ->
    #{handoff := Handoff} = node_of(Name, Model),
    case warp_cluster_handoff:is_writing(Handoff) of
        true -> written(Name, gone_on(Name, Model));
        false -> Model
    end.

%% The next that the node does by itself.
gone_on(Name, Model) ->
    case node_of(Name, Model) of
        #{pending := [Op | _]} -> do({done, Name, Op}, Model);
        Node ->
            case timers(Node, Model) of
                [Tag | _] -> do({timer, Name, Tag}, Model);
                [] -> Model
            end
    end.

%% NOTE: what a living node gave up, or gave on, is older than what it gave to the lost one, and is not taken.
had_all(Name, Gone, #{acked := Acked} = Model) ->
    #{handoff := Handoff, record := #{held := Held} = Record} = Node = node_of(Name, Model),
    IsNewest = is_tuple(Held) andalso element(1, Held) =:= own orelse warp_cluster_record:comes(Record)
        orelse warp_cluster_record:left_of([Gone], Record) =/= none,
    case Node of
        #{file := Acked} -> IsNewest andalso element(1, warp_cluster_handoff:info(Handoff)) =/= cleaning;
        #{stage := {Acked, _}} -> IsNewest;
        #{} -> false
    end.

%% What {@link warp_cluster_forget} makes of the records.
decided(Others, Gone, Model) ->
    Up = maps:from_list([{Name, #{node => Name, member => <<>>, incarnation => 1, start => <<>>, state => up,
                                  version => 1}} || Name <- Others]),
    Known = fun(Name) ->
        #{record := Record} = node_of(Name, Model),
        Owners = case warp_cluster_view:owner(Name, Record, none) of none -> #{}; Owner -> #{0 => Owner} end,
        #{members => Up, owners => Owners, records => #{0 => Record}, generation => 0}
    end,
    warp_cluster_forget:decide({1, <<>>}, [Gone], maps:from_list([{Name, Known(Name)} || Name <- Others]), 1).

ordered([], _Left, Model) ->
    Model;
ordered(_Orders, 0, Model) ->
    problem(order_is_not_taken, Model);
ordered([{0, Name, Order}] = Orders, Left, Model0) ->
    #{handoff := Handoff, file := File, stage := Stage} = node_of(Name, Model = input(Name, Order, Model0)),
    {Phase, _} = warp_cluster_handoff:info(Handoff),
    case Phase of
        taking -> Model#{acked := element(1, Stage)};
        reclaiming -> Model#{acked := File};
        replacing -> Model;
        %% It comes again.
        _ -> ordered(Orders, Left - 1, gone_on(Name, heard(Model)))
    end.

%% All that was said has come, and each node has done what it was about to do.
heard(#{net := Net, gone := Gone, nodes := Nodes} = Model) ->
    Delivered = lists:foldl(fun(Each, Acc) -> do({deliver, Each}, Acc) end, Model,
                            [Each || {_, To, _} = Each <- Net, To =/= Gone]),
    lists:foldl(fun(Name, Acc) ->
                    case node_of(Name, Acc) of
                        #{pending := [Op | _]} -> do({done, Name, Op}, Acc);
                        #{} -> Acc
                    end
                end, Delivered, maps:keys(Nodes)).

%% A node that hands over what another one owns by now is told so. What is said to the lost node is lost.
told_owner(#{gone := Gone, nodes := Nodes, net := Net} = Model0) ->
    Model = Model0#{net := [Each || {_, To, _} = Each <- Net, To =/= Gone]},
    case [{Epoch, Name} || {Name, #{record := #{held := {own, Epoch}}}} <- maps:to_list(Nodes)] of
        [{Epoch, Owner}] ->
            lists:foldl(fun(Name, Acc) ->
                            #{handoff := Handoff} = node_of(Name, Acc),
                            case warp_cluster_handoff:info(Handoff) of
                                {_, {Known, _, _}} when Epoch >= Known -> input(Name, {owner, Epoch}, Acc);
                                _ -> Acc
                            end
                        end, Model, maps:keys(Nodes) -- [Owner, Gone]);
        _ ->
            Model
    end;
told_owner(Model) ->
    Model.
