%% @private The one process that writes to the gateway. A port that is busy suspends whoever writes to it, for as long
%% as the gateway reads nothing: so nobody else does, and {@link warp_server_link} ends a gateway that stays silent.
-module(warp_server_writer).

-export([start_link/1, send/2]).

-export_type([writer/0]).

-type writer() :: pid().

%% @doc Starts the process for an open port.
-spec start_link(port()) -> writer().
start_link(Port) ->
    spawn_link(fun() -> loop(Port) end).

%% @doc Has a frame written. Frames of one process are written in order.
-spec send(writer(), iodata()) -> ok.
send(Writer, Frame) ->
    Writer ! {frame, Frame},
    ok.

loop(Port) ->
    receive
        {frame, Frame} ->
            try port_command(Port, Frame) of
                true -> loop(Port)
            catch
                %% The gateway has ended, and the link ends with this.
                error:badarg -> exit({shutdown, gateway_ended})
            end
    end.
