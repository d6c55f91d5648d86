%% What a folder may look like after a loss of power. `warp_record.c' recorded what a VM did to it; from that
%% this rebuilds the folder as it may be on disk at any point: what was synced is there, and of what was not,
%% each write is there as a whole, not at all, or torn at 512 bytes, also where a later one is there; each file that
%% was made or removed is so only once its folder was synced, or by chance.
-module(warp_power).

-export([recorder/1, records/1, nothing/0, states/5, moved/2, write/1, said/1]).

-export_type([state/0, say/0]).

-define(SECTOR, 512).

%% Names of files, with what they have: those on disk for sure and by now, and those that are pending by folder.
-record(disk, {
    sure = #{} :: #{binary() => integer()},
    now = #{} :: #{binary() => integer()},
    pending = [] :: [{binary(), integer() | gone}],
    files = #{} :: #{integer() => {content(), [change()]}},
    next = 0 :: non_neg_integer(),
    said = [] :: [binary()]
}).

%% Sectors by number.
-type content() :: {Size :: non_neg_integer(), #{non_neg_integer() => binary()}}.
-type change() :: {write, Offset :: non_neg_integer(), binary()} | {truncate, Size :: non_neg_integer()}.
-type record() :: {char(), Path :: binary(), Offset :: non_neg_integer(), Data :: binary()}.
%% Files by path, and what was said to callers by then.
-type state() :: {#{binary() => binary()}, Said :: [binary()]}.
%% Notes what callers were told, as words.
-type say() :: fun(([binary()]) -> ok).

%% The library, built into that folder.
recorder(Dir) ->
    Library = filename:join(Dir, "warp_record.so"),
    Source = filename:join([warp_fault_vm:root(), "test", "support", "warp_record.c"]),
    "" = os:cmd(lists:concat(["cc -Wall -Werror -shared -fPIC -O1 -o ", Library, " ", Source, " -ldl -lpthread"])),
    Library.

-spec records(file:filename()) -> [record()].
records(File) ->
    {ok, Bytes} = file:read_file(File),
    parse(Bytes).

parse(<<Op, Length:16/native, Offset:64/native, Size:32/native, Path:Length/binary, Data:Size/binary, Rest/binary>>) ->
    [{Op, Path, Offset, Data} | parse(Rest)];
parse(<<>>) ->
    [].

%% Calls Fun with each of so many states at random points behind that first one, numbered from 1. What callers were
%% told is what was written to the file Said.
-spec states(state(), [record()], Said :: binary(), pos_integer(), fun((pos_integer(), state()) -> term())) -> ok.
states(First, Records, Said, Count, Fun) ->
    run(Records, 1, lists:sort(points(Records, Count)), 1, Said, Fun, disk(First)).

%% Anywhere, right before a sync, where most is pending, and about where files are made, removed and renamed.
points(Records, Count) ->
    All = length(Records),
    Numbered = lists:zip(lists:seq(1, All), Records),
    Of = fun(Ops) -> list_to_tuple([N || {N, {Op, _, _, _}} <- Numbered, lists:member(Op, Ops)]) end,
    {Syncs, Names} = {Of([$S, $D]), Of([$C, $U, $R])},
    [case N rem 3 of
         1 when Syncs =/= {} -> any(Syncs);
         2 when Names =/= {} -> max(1, min(All, any(Names) + rand:uniform(11) - 6));
         _ -> rand:uniform(All)
     end || N <- lists:seq(1, Count)].

any(Tuple) -> element(rand:uniform(tuple_size(Tuple)), Tuple).

%% All that is there is there for sure.
disk({Contents, Said}) ->
    maps:fold(fun(Path, Bytes, #disk{sure = Sure, files = Files, next = Id} = Disk) ->
        Names = Sure#{Path => Id},
        File = {change({write, 0, Bytes}, {0, #{}}), []},
        Disk#disk{sure = Names, now = Names, files = Files#{Id => File}, next = Id + 1}
    end, #disk{said = lists:reverse(Said)}, Contents).

run(_Records, _At, [], _N, _Said, _Fun, _Disk) ->
    ok;
run(Records, At, [At | Points], N, Said, Fun, Disk) ->
    _ = Fun(N, state(Disk)),
    run(Records, At, Points, N + 1, Said, Fun, Disk);
run([Record | Records], At, Points, N, Said, Fun, Disk) ->
    run(Records, At + 1, Points, N, Said, Fun, did(Record, Said, Disk)).

did({$W, Said, _Offset, Data}, Said, #disk{said = Lines} = Disk) ->
    Disk#disk{said = [Data | Lines]};
did({_Op, Said, _, _}, Said, Disk) ->
    Disk;
did({$C, Path, _, _}, _Said, #disk{now = Now, pending = Pending, files = Files, next = Id} = Disk) ->
    Disk#disk{now = Now#{Path => Id}, pending = Pending ++ [{Path, Id}], files = Files#{Id => {{0, #{}}, []}},
              next = Id + 1};
did({$U, Path, _, _}, _Said, #disk{now = Now, pending = Pending} = Disk) ->
    Disk#disk{now = maps:remove(Path, Now), pending = Pending ++ [{Path, gone}]};
did({$R, From, _, To}, _Said, #disk{now = Now, pending = Pending} = Disk) ->
    case maps:take(From, Now) of
        {Id, Left} -> Disk#disk{now = Left#{To => Id}, pending = Pending ++ [{To, Id}, {From, gone}]};
        %% A socket, which has no bytes.
        error -> Disk
    end;
did({$D, Dir, _, _}, _Said, #disk{sure = Sure, pending = Pending} = Disk) ->
    {Synced, Left} = lists:partition(fun({Path, _}) -> filename:dirname(Path) =:= Dir end, Pending),
    Disk#disk{sure = lists:foldl(fun named/2, Sure, Synced), pending = Left};
did({Op, Path, Offset, Data}, _Said, #disk{now = Now, files = Files} = Disk) ->
    case Now of
        #{Path := Id} ->
            #{Id := File} = Files,
            Disk#disk{files = Files#{Id := to_file(Op, Offset, Data, File)}};
        #{} ->
            Disk
    end.

named({Path, gone}, Names) -> maps:remove(Path, Names);
named({Path, Id}, Names) -> Names#{Path => Id}.

to_file($W, Offset, Data, {Content, Pending}) -> {Content, [{write, Offset, Data} | Pending]};
to_file($T, Size, _Data, {Content, Pending}) -> {Content, [{truncate, Size} | Pending]};
to_file($S, _Offset, _Data, {Content, Pending}) -> {lists:foldr(fun change/2, Content, Pending), []}.

change({write, Offset, Data}, {Size, Sectors}) ->
    {max(Size, Offset + byte_size(Data)), sectors(Offset, Data, Sectors)};
change({truncate, To}, {Size, Sectors}) ->
    Last = To div ?SECTOR,
    Kept = maps:filter(fun(N, _) -> N =< Last end, Sectors),
    Cut = To rem ?SECTOR,
    case Kept of
        #{Last := <<Head:Cut/binary, _/binary>>} when To < Size ->
            {To, Kept#{Last := <<Head/binary, 0:((?SECTOR - Cut) * 8)>>}};
        #{} ->
            {To, Kept}
    end.

sectors(_Offset, <<>>, Sectors) ->
    Sectors;
sectors(Offset, Data, Sectors) ->
    {N, Into} = {Offset div ?SECTOR, Offset rem ?SECTOR},
    Size = min(byte_size(Data), ?SECTOR - Into),
    <<Now:Size/binary, Later/binary>> = Data,
    Sector =
        case Size of
            ?SECTOR ->
                Now;
            _ ->
                Old = maps:get(N, Sectors, <<0:(?SECTOR * 8)>>),
                <<Head:Into/binary, _:Size/binary, Tail/binary>> = Old,
                <<Head/binary, Now/binary, Tail/binary>>
        end,
    sectors(Offset + Size, Later, Sectors#{N => Sector}).

%% What may be there: all that is pending, nothing of it, the first part of it, or any of it.
state(#disk{sure = Sure, pending = Pending, files = Files, said = Said}) ->
    How = lists:nth(rand:uniform(4), [all, none, first, any]),
    Names = lists:foldl(fun named/2, Sure, chosen(How, Pending)),
    Contents = maps:map(
        fun(_Path, Id) ->
            #{Id := {Content, Changes}} = Files,
            bytes(lists:foldl(fun change/2, Content, torn(How, chosen(How, lists:reverse(Changes)))))
        end,
        Names),
    {Contents, lists:reverse(Said)}.

chosen(all, List) -> List;
chosen(none, _List) -> [];
chosen(first, List) -> lists:sublist(List, rand:uniform(length(List) + 1) - 1);
chosen(any, List) -> [Item || Item <- List, rand:uniform(2) =:= 1].

torn(any, Changes) -> lists:append([case rand:uniform(3) of 1 -> tear(Change); _ -> [Change] end || Change <- Changes]);
torn(first, [_ | _] = Changes) -> lists:droplast(Changes) ++ tear(lists:last(Changes));
torn(_How, Changes) -> Changes.

tear({write, Offset, Data}) ->
    [Piece || Piece <- pieces(Offset, Data), rand:uniform(2) =:= 1];
tear(Truncate) ->
    [Truncate].

pieces(_Offset, <<>>) ->
    [];
pieces(Offset, Data) ->
    Size = min(byte_size(Data), ?SECTOR - Offset rem ?SECTOR),
    <<Now:Size/binary, Later/binary>> = Data,
    [{write, Offset, Now} | pieces(Offset + Size, Later)].

bytes({Size, Sectors}) ->
    All = [maps:get(N, Sectors, <<0:(?SECTOR * 8)>>) || N <- lists:seq(0, (Size + ?SECTOR - 1) div ?SECTOR - 1)],
    binary:part(iolist_to_binary(All), 0, Size).

%% No file, and nobody was told anything.
-spec nothing() -> state().
nothing() -> {#{}, []}.

%% The same state in another folder.
-spec moved(state(), {From :: binary(), To :: binary()}) -> state().
moved({Contents, Said}, {From, To}) ->
    Size = byte_size(From),
    {maps:from_list([{<<To/binary, Relative/binary>>, Bytes}
                     || {<<Folder:Size/binary, Relative/binary>>, Bytes} <- maps:to_list(Contents), Folder =:= From]),
     Said}.

%% Writes the files of a state.
-spec write(state()) -> ok.
write({Contents, _Said}) ->
    maps:foreach(
        fun(File, Bytes) ->
            ok = filelib:ensure_dir(File),
            ok = file:write_file(File, Bytes),
            ok = file:change_mode(File, 8#600)
        end,
        Contents).

%% What callers were told: the words of each line.
-spec said(state()) -> [[binary()]].
said({_Contents, Said}) ->
    [string:lexemes(Line, " ") || Line <- string:lexemes(iolist_to_binary(Said), "\n")].
