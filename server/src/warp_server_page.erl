%% @private Reads up to so many events in pieces, and no more bytes of them at once than one answer should have.
-module(warp_server_page).

-export([collect/3]).

%% How many events the first piece has, and about how many bytes a piece and a page.
-define(FIRST, 16).
-define(PIECE_BYTES, (1 bsl 20)).
-define(PAGE_BYTES, (4 bsl 20)).

%% @doc Calls Read with a limit and with what the call before gave, until there are as many events as wanted, or the
%% page has enough bytes, or Read gives `done'. Gives the events as JSON, and what the last Read gave.
-spec collect(Wanted :: pos_integer(), From,
              fun((Limit :: pos_integer(), From) -> {ok, [map()], {more | done, From}} | {error, term()})) ->
    {ok, [binary()], {more | done, From}} | {error, term()}.
collect(Wanted, From, Read) ->
    collect(Wanted, ?FIRST, From, Read, [], 0).

collect(Wanted, Piece, From, Read, Pieces, Bytes) ->
    case Read(min(Wanted, Piece), From) of
        {ok, Events, Next} ->
            Texts = [warp_server_json:encode(Event) || Event <- Events],
            Size = iolist_size(Texts),
            Left = Wanted - length(Events),
            case Next of
                {more, Further} when Left > 0, Bytes + Size < ?PAGE_BYTES ->
                    collect(Left, fitting(length(Events), Size), Further, Read, [Texts | Pieces], Bytes + Size);
                _ ->
                    {ok, lists:append(lists:reverse([Texts | Pieces])), Next}
            end;
        {error, _} = Error ->
            Error
    end.

%% As many as fit into a piece, if those that follow are as large.
fitting(0, _) -> ?FIRST;
fitting(Count, Size) -> max(1, min(1000, ?PIECE_BYTES * Count div max(Size, 1))).
