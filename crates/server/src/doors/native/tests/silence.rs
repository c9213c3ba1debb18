//! Peers that say nothing, too little, or do not listen.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_not_waited_for() {
    let house = House::new();
    let mut silent = house.connect();
    assert!(matches!(silent.login_reply().await, Some(LoginReply::Hello(_))));
    assert!(silent.frame().await.is_none(), "no hello in time");

    let mut slow = house.connect();
    let hello = ClientHello {
        version: PROTOCOL_VERSION,
        agent: String::new(),
    };
    assert!(matches!(slow.login_reply().await, Some(LoginReply::Hello(_))));
    slow.writer.send(&LoginRequest::Hello(hello)).await.unwrap();
    assert!(slow.frame().await.is_none(), "no login in time");
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_and_a_beating_one_is_kept_until_the_idle_limit() {
    let house = House::new();
    let mut dead = house.enter().await;
    let (_, last) = dead.reply().await;
    assert!(matches!(
        last,
        Re::Bye(Fault {
            code: Code::TimedOut,
            ..
        })
    ));

    let mut idle = house.enter().await;
    let began = Instant::now();
    let last = loop {
        tokio::select! {
            reply = idle.reply() => break reply,
            () = tokio::time::sleep(ftp_proto::BEAT_INTERVAL) => idle.send(0, Op::Beat).await,
        }
    };
    assert!(matches!(
        last,
        (
            0,
            Re::Bye(Fault {
                code: Code::TimedOut,
                ..
            })
        )
    ));
    assert!(began.elapsed() >= Limits::default().idle_timeout);
}

#[tokio::test]
async fn a_connection_holds_room_only_for_what_it_does() {
    let house = House::new();
    let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let permit = house.door.gate.admit(peer.ip()).unwrap();
    let (_here, there) = tokio::io::duplex(PIPE_BYTES);
    let future = house.door.talk(wire::halves(there), Binding::None, peer, 1, permit);
    // The futures of a login and of each request are boxed while they run; all of them would be ten times
    // as much.
    assert!(size_of_val(&future) < 1200, "{} bytes", size_of_val(&future));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_by_the_byte_is_waited_for_no_longer_than_silence() {
    let house = House::new();
    for kind in [1, 2] {
        let Peer {
            mut reader,
            mut writer,
            server,
        } = house.enter().await;
        let reading = tokio::spawn(async move { while let Ok(Some(_)) = reader.next().await {} });
        let began = Instant::now();
        let mut frame = vec![0, 0, 1, 0, kind];
        frame.resize(260, b' ');
        let mut sent = 0;
        for byte in frame {
            writer.data(&[byte]);
            if writer.flush().await.is_err() {
                break;
            }
            sent += 1;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        // A beat can not stand within a frame, so what arrived whole last counts.
        assert!(sent > 50 && sent < 70, "{sent} bytes");
        assert!(began.elapsed() < ftp_proto::PEER_TIMEOUT + std::time::Duration::from_secs(5));
        server.await.unwrap();
        reading.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_its_answer_is_cut_though_it_beats() {
    let house = House::new();
    let home = house.dir.path().join("alice");
    for (name, op) in [
        ("large", get("/large")),
        (
            "listing",
            Op::Ls {
                path: "/".to_owned(),
                digests: false,
            },
        ),
    ] {
        let mut peer = house.enter().await;
        std::fs::write(home.join(name), vec![7; 1_000_000]).unwrap();
        let began = Instant::now();
        peer.send(1, op).await;
        let beat = Request { id: 0, op: Op::Beat };
        // The pipe is small: at some time a beat is not taken either, and then the other end is gone.
        while timeout(ftp_proto::PEER_TIMEOUT, peer.writer.send(&beat))
            .await
            .is_ok_and(|sent| sent.is_ok())
        {
            tokio::time::sleep(ftp_proto::BEAT_INTERVAL).await;
            assert!(began.elapsed() < 3 * ftp_proto::PEER_TIMEOUT, "{name} is held for ever");
        }
        peer.server.await.unwrap();
    }
}
