"""An RTSP server for the tests, by GStreamer. Run by Debian's Python, which has its bindings:

/usr/bin/python3 rtsp_server.py PORT video.mp4           # H.264 over and over, as it is in the file, 30 frames a second
/usr/bin/python3 rtsp_server.py PORT "launch line"       # whatever gst-launch makes of it
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

FRAME_NS = 10**9 // 30
CAPS = "video/x-h264,stream-format=byte-stream,alignment=au"
SOURCE = "( appsrc name=source format=time block=true max-bytes=200000 ! h264parse ! rtph264pay name=pay0 pt=96 )"


def access_units(path):
    """(bytes, pts, dts) of each frame of a file; times in ns, shifted so that decoding begins at 0."""
    line = f"filesrc location={path} ! qtdemux ! h264parse config-interval=-1 ! {CAPS} ! appsink name=sink sync=false"
    pipeline = Gst.parse_launch(line)
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    found = []
    while (sample := sink.emit("pull-sample")) is not None:
        buffer = sample.get_buffer()
        found.append((buffer.extract_dup(0, buffer.get_size()), buffer.pts, buffer.dts))
    pipeline.set_state(Gst.State.NULL)
    first = found[0][2]
    return [(data, pts - first, dts - first) for data, pts, dts in found], sample_caps(path, line)


def sample_caps(path, line):
    return Gst.Caps.from_string(CAPS + ",framerate=30/1")


class Endless:
    """Feeds one client after another."""

    def __init__(self, units):
        self.units = units

    def configure(self, factory, media):
        source = media.get_element().get_by_name("source")
        source.set_property("caps", Gst.Caps.from_string(CAPS))
        state = {"n": 0}
        source.connect("need-data", self.feed, state)

    def feed(self, source, size, state):
        data, pts, dts = self.units[state["n"] % len(self.units)]
        shift = state["n"] // len(self.units) * len(self.units) * FRAME_NS
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts, buffer.dts, buffer.duration = pts + shift, dts + shift, FRAME_NS
        state["n"] += 1
        source.emit("push-buffer", buffer)


def main(port, what):
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1" if len(sys.argv) < 4 else sys.argv[3])
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    if what.endswith(".mp4"):
        endless = Endless(access_units(what)[0])
        factory.set_launch(SOURCE)
        factory.connect("media-configure", endless.configure)
    else:
        factory.set_launch(what)
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        sys.exit("the port is in use")
    print("serving", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
